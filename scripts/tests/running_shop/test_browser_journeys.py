"""Three journeys in a browser: a purchase, a refund, and a sign-in with a one-time code."""

import re
from typing import Any

from django.contrib.auth.models import User

from accounts.tests.clients import client_of
from accounts.tests.one_time_codes import STEP_SECONDS, backup_codes, code_of, secret_of_text
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from foundation.tests.factories import PASSWORD, SuperuserFactory
from inventory.tests.factories import ProductFactory
from orders import order_numbers
from orders.models import Order, Refund, Saga
from orders.tests import operating_pages
from orders.tests.operating_pages import page_of
from scripts.tests.running_shop.calls import eventually, require_every_law
from shop.tests.browser import accessibility, storefront
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.stack import superuser_with_password
from shop.tests.browser.storefront import HOME, card_of, open_product, receipt, sign_in
from shop.tests.browser.test_storefront import STORED

FRONT, LOGIN = re.compile("/admin/$"), re.compile("/admin/login/")


def sign_in_as_staff(page: Any, account: User, otp: str = "") -> None:
    page.locator("#id_username").fill(account.username)
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#id_otp").fill(otp)
    with page.expect_navigation():
        page.locator("#login-form [type=submit]").click()


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


def test_a_line_is_refunded_by_units_after_its_amount_was_shown(open_page):
    order = operating_pages.paid_order(units=3, points=200, discount=100)
    line = order.lines.get()
    page = open_page(page_of(order), account=SuperuserFactory())
    page.locator(f"a[href='{page_of(order, 'refund')}']").click()
    page.locator("input[name=what][value=some]").check()
    page.locator(f"[name=units_{line.pk}]").fill("1")
    page.locator("[name=reason]").fill("It came broken.")
    refund = page.get_by_role("button", name="Refund 467 KRW")
    expect(refund).to_be_visible()
    assert accessibility.findings(page) == []
    refunds = Refund.objects.filter(order=order)
    assert not refunds.exists()

    refund.click()

    expect(page).to_have_url(re.compile(page_of(order)))
    eventually(lambda: refunds.filter(status="succeeded").exists())
    page.reload()
    expect(page.get_by_text("Refunded: 467 KRW")).to_be_visible()
    made = refunds.get()
    assert (made.amount, made.points_amount, made.card_amount) == (467, 66, 401)
    expect(page.locator("td", has_text="467").first).to_be_visible()
    eventually(lambda: not Saga.objects.filter(about_id=order.id, ended_at=None).exists())
    require_every_law()


def test_the_first_sign_in_sets_codes_up_and_the_next_ones_need_one(open_page):
    olga = superuser_with_password("olga")
    page = open_page("/admin/orders/order/")
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
    sign_in_as_staff(page, olga)
    expect(page.locator("#otp-form")).to_be_visible()
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
    expect(page.locator("svg").first).to_be_visible()
    secret = secret_of_text(page.locator("ol code").inner_text())
    page.locator("#id_otp").fill(code_of(secret))
    page.locator("#otp-form [type=submit]").click()

    shown = page.locator("#backup-codes code")
    expect(shown).to_have_count(10)
    assert sorted(shown.all_inner_texts()) == sorted(backup_codes(olga))
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
    page.locator("a[href='/admin/orders/order/']").click()
    expect(page).to_have_url(re.compile("/admin/orders/order/"))

    another = open_page("/admin/")
    sign_in_as_staff(another, olga)
    expect(another).to_have_url(LOGIN)
    sign_in_as_staff(another, olga, code_of(secret, seconds=STEP_SECONDS))
    expect(another).to_have_url(FRONT)
