"""The operators' pages, the sign-in and the welcome page: readable for everyone, and on a phone."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User

from shop.tests import admin_addresses
from shop.tests.browser import accessibility
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.stack import HTTP, Stack, session_of, superuser_with_password
from shop.tests.factories import PASSWORD, SuperuserFactory
from shop.tests.one_time_codes import code_of, secret_of_text
from shop.tests.rows_of_every_model import fill_all_models

APPS = ["coupons", "events", "inventory", "(auth|otp_totp)", "shop", "orders", "payments"]
OF_MODELS = f"/admin/({'|'.join(APPS)})/"
WHOLE_PAGE = re.compile(rb"\s*<!doctype html", re.IGNORECASE)


def findings(
    open_page: Callable[..., Any], stack: Stack, *, under: str, but: str = "$^"
) -> dict[str, list[str]]:
    """What is wrong with each page whose address begins with `under`, and not with `but`."""
    fill_all_models()
    operator = SuperuserFactory.create(username="olga")
    page = open_page(account=operator)
    found, opened = {}, 0
    for path in _pages(stack, session_of(operator), under, but):
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(path)
        found[path] = accessibility.findings_in_both_themes_and_on_a_phone(page)
        assert page.url == stack.address + path
        opened += 1
    assert opened, f"no page lies under {under}"
    return {path: wrong for path, wrong in found.items() if wrong}


def _pages(stack: Stack, session: str, under: str, but: str) -> Iterator[str]:
    """The addresses that answer with a whole page: not those of files, parts of pages, and buttons."""
    paths = [address.path for address in admin_addresses.addresses()]
    wanted = [path for path in paths if re.match(under, path) and not re.match(but, path)]
    # The next ones are requested while the browser examines one.
    with ThreadPoolExecutor(1) as requests:
        answers = requests.map(lambda path: _is_page(stack.address + path, session), wanted)
        yield from (path for path, is_page in zip(wanted, answers, strict=True) if is_page)


def _is_page(url: str, session: str) -> bool:
    headers = {"Cookie": f"sessionid={session}", "Accept": "text/html"}
    answer = HTTP.request("GET", url, headers=headers, redirect=False, preload_content=False)
    try:
        # Only then read: a stream has no end.
        is_html = answer.status == 200 and answer.headers["Content-Type"].startswith("text/html")
        return is_html and WHOLE_PAGE.match(answer.data) is not None
    finally:
        answer.close()


def sign_in(page: Any, account: User, otp: str = "") -> None:
    page.locator("#id_username").fill(account.username)
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#id_otp").fill(otp)
    with page.expect_navigation():
        page.locator("#login-form [type=submit]").click()


@pytest.mark.parametrize("under", [f"/admin/{app}/" for app in APPS])
def test_a_page_has_no_severe_finding_and_fits_a_phone(
    open_page: Callable[..., Any], stack: Stack, under: str
) -> None:
    assert findings(open_page, stack, under=under) == {}


def test_nor_have_the_front_page_the_board_the_reports_and_the_pages_of_single_things(
    open_page: Callable[..., Any], stack: Stack
) -> None:
    assert findings(open_page, stack, under="/admin/", but=OF_MODELS) == {}


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
