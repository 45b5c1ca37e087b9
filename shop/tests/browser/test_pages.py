"""The operators' other pages, the sign-in and the welcome page: readable for everyone, and on a phone."""

from collections.abc import Callable
from typing import Any

import pytest

from shop.tests.browser import accessibility, page_sweep
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.stack import Stack, superuser_with_password
from shop.tests.browser.test_sign_in import sign_in
from shop.tests.factories import SuperuserFactory
from shop.tests.one_time_codes import code_of, secret_of_text
from shop.tests.test_admin_pages import fill_all_models

OF_MODELS = "/admin/(auth|otp_totp|shop|inventory|coupons|orders|payments)/"


@pytest.mark.parametrize(
    "under", ["/admin/coupons/", "/admin/inventory/", "/admin/(auth|otp_totp)/", "/admin/shop/"]
)
def test_a_page_has_no_severe_finding_and_fits_a_phone(
    open_page: Callable[..., Any], stack: Stack, under: str
) -> None:
    assert page_sweep.findings(open_page, stack, under=under) == {}


def test_nor_have_the_front_page_the_board_the_reports_and_the_pages_of_single_things(
    open_page: Callable[..., Any], stack: Stack
) -> None:
    assert page_sweep.findings(open_page, stack, under="/admin/", but=OF_MODELS) == {}


def test_nor_have_the_page_to_sign_in_and_those_that_set_codes_up(
    open_page: Callable[..., Any], stack: Stack
) -> None:
    olga = superuser_with_password("olga")
    page = open_page("/admin/login/")
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
    sign_in(page, olga)
    expect(page.locator("#otp-form")).to_be_visible()
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
    page.locator("#id_otp").fill(code_of(secret_of_text(page.locator("ol code").inner_text())))
    page.locator("#otp-form [type=submit]").click()
    expect(page.locator("#backup-codes")).to_be_visible()
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []


def test_nor_has_the_welcome_page(open_page: Callable[..., Any], stack: Stack) -> None:
    fill_all_models()
    page = open_page("/")
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []


def test_the_menu_is_reached_on_a_phone(open_page: Callable[..., Any], stack: Stack) -> None:
    page = open_page("/admin/", account=SuperuserFactory.create(), width=390, height=844, has_touch=True)
    link = page.locator("#nav-sidebar a[href='/admin/orders/order/']")
    expect(link).to_be_hidden()
    page.locator("[x-on\\:click*='sidebarMobileOpen']").locator("visible=true").first.tap()
    expect(link).to_be_visible()
    link.tap()
    expect(page.locator("#changelist")).to_be_visible()
