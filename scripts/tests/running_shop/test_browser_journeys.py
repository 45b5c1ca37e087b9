"""A purchase in a browser, from the sign-in to the receipt."""

import re

from accounts.tests.clients import client_of
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from inventory.tests.factories import ProductFactory
from orders import order_numbers
from orders.models import Order
from scripts.tests.running_shop.calls import require_every_law
from shop.tests.browser import storefront
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.storefront import HOME, card_of, open_product, receipt, sign_in
from shop.tests.browser.test_storefront import STORED


def test_a_buyer_signs_in_claims_a_coupon_buys_and_reads_the_receipt(open_page):
    mina, mug = storefront.buyer("mina"), ProductFactory(name="Mug", price=12_000, on_hand=5)
    campaign = CampaignFactory(name="Spring", discount_value=2_000)
    page = open_page(HOME)
    card_of(page, mug).get_by_role("link").click()
    page.locator("main button").click()
    sign_in(page, mina)
    # The page from which the sign-in was asked for.
    expect(page.locator("h1")).to_be_focused()
    expect(page).to_have_url(re.compile(f"#/buy/{mug.pk}$"))

    page.locator(".brand a").click()
    page.locator(f"[data-campaign='{campaign.pk}'] button").click()
    expect(page.locator(f"[data-campaign='{campaign.pk}'] .own")).to_be_visible()
    coupon = Coupon.objects.get(account=mina).code

    button = open_product(page, mug)
    page.locator("#quantity").fill("2")
    page.locator("#coupon").select_option(coupon)
    page.locator("#points-used").fill("500")
    expect(page.locator(".total dd")).to_have_text(["₩24,000", "-₩2,000", "₩500", "₩21,500"])
    button.dblclick()

    expect(receipt(page)).to_be_visible()
    expect(page.locator(".receipt .amounts dd")).to_have_text(["-₩2,000", "₩22,000", "₩500", "₩21,500"])
    order = Order.objects.get(account=mina)
    expect(page.locator("#order-number")).to_have_text(order_numbers.shown(order.number))
    events = [line["event"] for line in client_of(mina).rows(f"/orders/{order.id}/timeline")]
    expect(page.locator("#timeline li")).to_have_count(len(events))
    assert (
        page.locator("#timeline li").evaluate_all("lines => lines.map(line => line.dataset.event)") == events
    )
    expect(page.locator("#points")).to_contain_text("₩9,500")
    assert page.evaluate(STORED) == ["demo.tokens"]

    page.locator(".brand a").click()
    expect(page.locator("#orders li")).to_have_count(1)
    page.locator("#sign-out").click()
    expect(page.locator("#account")).to_have_count(0)
    assert page.evaluate(STORED) == []
    assert "eyJ" not in page.url
    require_every_law()
