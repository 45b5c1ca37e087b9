"""An operator finds things by one box, and reads lists at every width: each task starts from /admin/."""

import pytest

from coupons.tests.factories import CampaignFactory
from foundation.tests.factories import SuperuserFactory, set_columns
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import operating_pages
from shop.tests.browser import accessibility
from shop.tests.browser.browser_thread import expect


@pytest.fixture
def order(transactional_db):
    order = operating_pages.unpaid_order()
    set_columns(order, number="K7QM42XD")
    return order


def change_page(order: Order) -> str:
    return f"/admin/orders/order/{order.pk}/change/"


@pytest.mark.parametrize("width", [1366, 390])
@pytest.mark.parametrize("key", ["Control+k", "/"])
@pytest.mark.parametrize("term", ["k7qm-42xd", "42XD"])
def test_an_order_is_found_by_its_number_without_a_click(open_page, stack, order, width, key, term):
    page = open_page("/admin/", account=SuperuserFactory(), width=width)
    page.keyboard.press(key)
    page.keyboard.type(term)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{change_page(order)}")
    expect(page.get_by_role("heading", level=2, name="K7QM-42XD")).to_be_visible()


def test_what_is_found_is_grouped_and_enter_opens_the_first_also_of_a_list(open_page, stack, order):
    product = ProductFactory(name="Blue mug")
    CampaignFactory(name="Mug week")
    page = open_page("/admin/", account=SuperuserFactory())
    page.get_by_role("link", name="Orders", exact=True).first.click()
    page.wait_for_url("**/admin/orders/order/")
    page.keyboard.press("/")
    page.keyboard.type("mug")
    hits = page.locator("#sidebar-search-hits")
    expect(hits.get_by_role("option")).to_have_count(3)
    assert hits.locator(".fc-search-kind").all_inner_texts() == ["Campaign", "Product"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/admin/products/{product.pk}/")
    page.keyboard.press("/")
    page.keyboard.type("mug")
    expect(hits.get_by_role("option")).to_have_count(3)
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []


def test_a_slash_that_is_typed_into_a_field_is_only_a_slash(open_page, stack, order):
    page = open_page("/admin/", account=SuperuserFactory())
    page.get_by_role("link", name="Orders", exact=True).first.click()
    box = page.locator("#searchbar")
    box.click()
    page.keyboard.type("a/b")
    expect(box).to_have_value("a/b")
    expect(box).to_be_focused()


def test_an_orders_number_is_copied_from_the_list_and_from_its_page(open_page, stack, order):
    page = open_page("/admin/", account=SuperuserFactory(), permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="Orders", exact=True).first.click()
    for _ in range(2):
        page.evaluate("navigator.clipboard.writeText('')")
        page.get_by_role("button", name="Copy K7QM-42XD").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == "K7QM-42XD"
        if not page.url.endswith("/change/"):
            page.get_by_role("link", name="K7QM-42XD").click()
            page.wait_for_url(f"**{change_page(order)}")


def test_the_number_is_printed_large_and_nothing_that_is_pressed(open_page, stack, order):
    page = open_page("/admin/", account=SuperuserFactory())
    page.keyboard.press("/")
    page.keyboard.type("42XD")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{change_page(order)}")
    page.emulate_media(media="print")
    number = page.get_by_role("heading", level=2, name="K7QM-42XD")
    expect(number).to_be_visible()
    assert float(number.evaluate("one => parseFloat(getComputedStyle(one).fontSize)")) >= 28
    for hidden in ("#nav-sidebar", ".fc-copy", "details.fc-technical"):
        expect(page.locator(hidden).first).to_be_hidden()
