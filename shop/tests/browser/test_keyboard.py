"""Operators work without a mouse: every step by Tab, Enter and Escape, with a focus that is seen."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from orders.models import Order
from orders.tests import operating_pages
from orders.tests.operating_pages import page_of
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.stack import Stack, superuser_with_password
from shop.tests.factories import PASSWORD
from shop.tests.one_time_codes import code_for, with_codes

MOST_STEPS = 120
# Whether the element with the focus, or what is around it, looks otherwise than without the focus.
IS_SEEN = """() => {
    const LOOKS = ["outlineStyle", "outlineWidth", "boxShadow", "borderColor", "backgroundColor",
        "textDecorationLine"];
    const element = document.activeElement;
    const around = [element, element.parentElement, element.parentElement.parentElement];
    const looks = () => around.map(one => LOOKS.map(name => getComputedStyle(one)[name]).join()).join();
    const withFocus = looks();
    element.blur();
    const without = looks();
    element.focus();
    return withFocus !== without;
}"""


@pytest.fixture
def olga(transactional_db: None) -> User:
    return with_codes(superuser_with_password("olga"))


def tab_to(page: Any, element: Any) -> None:
    """Press Tab until the element has the focus, which has to be seen there."""
    for _ in range(MOST_STEPS):
        page.keyboard.press("Tab")
        if element.evaluate("element => element === document.activeElement"):
            assert page.evaluate(IS_SEEN), (
                f"the focus is not seen on {element.evaluate('one => one.outerHTML')}"
            )
            return
    raise AssertionError(f"{MOST_STEPS} steps by Tab don't reach it")


def test_an_order_is_found_and_cancelled_by_keys_alone(
    open_page: Callable[..., Any], stack: Stack, olga: User
) -> None:
    order = operating_pages.unpaid_order()
    page = open_page("/admin/login/?next=/admin/orders/order/")
    sign_in_by_keys(page, olga)

    tab_to(page, page.locator(f"#result_list a[href^='{page_of(order)}']").first)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(page_of(order)))
    cancel = page.locator(f"a[href='{page_of(order, 'cancel')}']")
    tab_to(page, cancel)
    page.keyboard.press("Enter")
    tab_to(page, page.locator("[name=reason]"))
    page.keyboard.type("The customer asked.")
    tab_to(page, page.get_by_role("button", name="Cancel the order"))
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile(page_of(order)))
    expect(cancel).to_have_count(0)
    assert Order.objects.get(pk=order.pk).status == "cancelled"


def sign_in_by_keys(page: Any, account: User) -> None:
    username = page.locator("#id_username")
    if not username.evaluate("element => element === document.activeElement"):
        tab_to(page, username)
    page.keyboard.type(account.username)
    tab_to(page, page.locator("#id_password"))
    page.keyboard.type(PASSWORD)
    tab_to(page, page.locator("#id_otp"))
    page.keyboard.type(code_for(account))
    page.keyboard.press("Enter")
    expect(page.locator("#changelist")).to_be_visible()
