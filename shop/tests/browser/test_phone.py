"""The operators' pages on a phone: lists of many rows, two taps to a pause, long pages in folded parts."""

from functools import partial

import pytest

from coupons.tests.factories import CampaignFactory, campaign_with_codes
from foundation.tests.factories import SuperuserFactory, reloaded
from foundation.tests.instants import from_now
from inventory.tests.factories import ProductFactory
from orders.tests import buying
from sales.tests.factories import create_sale
from shop.tests.browser.browser_thread import expect

WIDTH, HEIGHT = 360, 740
OPEN = "[...document.querySelectorAll('details.fc-fold, fieldset.fc-open > details')].map(part => part.open)"
IN_VIEW = f"""[...document.querySelectorAll('#result_list .data-row')]
    .filter(row => row.getBoundingClientRect().bottom <= {HEIGHT}).length"""


@pytest.fixture
def phone(open_page, stack):
    """The home page of a superuser on a phone."""
    page = open_page("", account=SuperuserFactory(username="olga"), width=WIDTH, has_touch=True)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.goto("/admin/")
    return page


def test_ten_orders_fill_a_screen_and_an_order_is_folded_but_for_its_state(phone):
    product, buyer = buying.product_and_buyer(name="Mug, blue", on_hand=50)
    orders = [buying.order(buyer, product) for _ in range(12)]
    phone.locator(".fc-menu").get_by_role("link", name="Orders").tap()
    expect(phone.locator("#result_list .data-row")).to_have_count(len(orders))
    assert phone.evaluate(IN_VIEW) >= 10
    assert phone.locator("#result_list time").first.get_attribute("title").endswith(" UTC")

    phone.locator("#result_list .data-row a").first.tap()
    expect(phone.get_by_role("heading", name="Lines")).to_be_visible()
    assert not any(phone.evaluate(OPEN))
    phone.get_by_role("heading", name="Lines").tap()
    expect(phone.get_by_text("Mug, blue")).to_be_visible()
    phone.set_viewport_size({"width": 1280, "height": 800})
    phone.reload()
    expect(phone.get_by_text("Mug, blue")).to_be_visible()
    assert all(phone.evaluate(OPEN))


@pytest.mark.parametrize(
    ("menu", "create"),
    [
        ("Campaigns", CampaignFactory),
        ("Sale events", partial(create_sale, closes_in=9_000)),
        ("Products", ProductFactory),
    ],
)
def test_whatever_is_sold_is_paused_by_two_taps_from_home(phone, menu, create):
    rows = [create(name=f"Row {number}") for number in range(9)]
    phone.locator(".fc-menu").get_by_role("link", name=menu, exact=True).tap()
    expect(phone.locator("#result_list .data-row")).to_have_count(len(rows))
    assert phone.evaluate(IN_VIEW) >= 8

    phone.get_by_role("button", name=f"Pause {rows[0].name}").tap()

    expect(phone.get_by_role("button", name="Undo")).to_be_visible()
    assert reloaded(rows[0]).paused_at is not None
    assert not any(phone.evaluate(OPEN))


def test_the_board_has_what_sells_first_jumps_to_its_folded_parts_and_leads_back(phone):
    CampaignFactory(name="With coupons", opens_at=from_now(hours=-1))
    campaign_with_codes("pool", codes=0, name="Without codes", opens_at=from_now(minutes=-1))
    phone.locator(".fc-menu").get_by_role("link", name="Launch board").tap()
    expect(phone.locator("#campaigns h3")).to_have_text(["With coupons", "Without codes"])
    laws = phone.get_by_role("heading", name="Laws")
    expect(laws).to_be_hidden()
    phone.get_by_role("navigation", name="Parts").get_by_role("link", name="Laws").tap()
    expect(laws).to_be_in_viewport()
    phone.get_by_role("link", name="Back to the admin").tap()
    expect(phone.locator(".fc-menu")).to_be_visible()
