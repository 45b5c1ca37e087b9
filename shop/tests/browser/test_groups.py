"""What each group of staff sees in the browser: its menu, its buttons, and no page beyond its rights."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin

from coupons.tests.factories import CampaignFactory, coupon_of
from inventory.tests.factories import ProductFactory
from orders.tests import operating_pages
from orders.tests.operating_pages import page_of
from shop.tests import operators_page
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.faults import Faults
from shop.tests.staff_groups import NAMES, _staff_groups, member_of

__all__ = ["_staff_groups"]
LISTS = {f"/admin/{model._meta.label_lower.replace('.', '/')}/" for model in admin.site._registry}
# A page beyond the rights of each group, and the buttons that it has and has not, by their addresses.
BEYOND = {
    "Viewer": "/admin/auth/user/",
    "Support": "/admin/inventory/stockmovement/",
    "Operations": "/admin/payments/entry/",
    "Finance": "/admin/inventory/product/add/",
}
REFUND, MOVE, ADD, EXPORT, VOID = "refund", "move_stock", "campaign/add", "export", "void"
BUTTONS = {
    "Viewer": set(),
    "Support": {REFUND, VOID},
    "Operations": {MOVE, ADD, EXPORT},
    "Finance": {REFUND, EXPORT},
}


@pytest.mark.usefixtures("_staff_groups")
@pytest.mark.parametrize("group", NAMES)
def test_each_group_sees_its_own_menu_and_buttons_and_is_refused_beyond(
    open_page: Callable[..., Any], faults: Faults, group: str
) -> None:
    order, product = operating_pages.paid_order(), ProductFactory.create(on_hand=5)
    coupon = coupon_of(CampaignFactory.create())
    page = open_page("/admin/", account=member_of(group))
    assert lists_in_menu(page) == lists_of(group)
    expect(page.locator("#nav-sidebar a[href='/admin/board/']")).to_have_count(1)

    buttons = {
        REFUND: (page_of(order), f"a[href='{page_of(order, 'refund')}']"),
        MOVE: (f"/admin/products/{product.pk}/", "a[href*='/move_stock/']"),
        ADD: ("/admin/coupons/campaign/", "a[href='/admin/coupons/campaign/add/']"),
        EXPORT: ("/admin/inventory/product/", "a[href^='/admin/inventory/product/export/']"),
        VOID: (f"/admin/coupons/coupon/{coupon.pk}/change/", "a[href*='/void/']"),
    }
    # Who may not see coupons finds no button of theirs either.
    faults.expect("^403: GET ")
    seen = {name for name, (path, button) in buttons.items() if is_on(page, path, button)}
    assert seen == BUTTONS[group]

    assert page.goto(BEYOND[group]).status == 403


def is_on(page: Any, path: str, button: str) -> bool:
    page.goto(path)
    return page.locator(button).count() > 0


def lists_in_menu(page: Any) -> set[str]:
    paths = page.locator("#nav-sidebar a").evaluate_all("links => links.map(link => link.pathname)")
    return LISTS & set(paths)


def lists_of(group: str) -> set[str]:
    """The lists that docs/operators.md opens to the group."""
    rights = operators_page.column("Pages", group)
    return {path for path in LISTS if rights[path] != "-"}
