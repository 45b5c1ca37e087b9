"""Operators sign in by a password and a one-time code, which they set up at the first sign-in."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django_otp.plugins.otp_totp.models import TOTPDevice

from shop.tests.browser.browser_thread import expect
from shop.tests.browser.stack import superuser_with_password
from shop.tests.factories import PASSWORD
from shop.tests.one_time_codes import (
    STEP_SECONDS,
    backup_codes,
    code_for,
    with_codes,
    wrong_code,
)

FRONT, LOGIN = re.compile("/admin/$"), re.compile("/admin/login/")


@pytest.fixture
def olga(transactional_db: None) -> User:
    return superuser_with_password("olga")


def sign_in(page: Any, account: User, otp: str = "") -> None:
    page.locator("#id_username").fill(account.username)
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#id_otp").fill(otp)
    with page.expect_navigation():
        page.locator("#login-form [type=submit]").click()


def test_a_wrong_code_is_refused_and_a_right_one_signs_in(open_page: Callable[..., Any], olga: User) -> None:
    with_codes(olga)
    page = open_page("/admin/")
    sign_in(page, olga, wrong_code(olga))
    expect(page).to_have_url(LOGIN)
    # After a wrong code none is looked at for a second, which is over.
    TOTPDevice.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    sign_in(page, olga, code_for(olga, seconds=STEP_SECONDS))
    expect(page).to_have_url(FRONT)


def test_a_backup_code_signs_in_once(open_page: Callable[..., Any], olga: User) -> None:
    with_codes(olga)
    code = backup_codes(olga)[0]
    page = open_page("/admin/")
    sign_in(page, olga, code)
    expect(page).to_have_url(FRONT)
    expect(page.get_by_text("You used a backup code; 9 are left.")).to_be_visible()

    another = open_page("/admin/")
    sign_in(another, olga, code)
    expect(another).to_have_url(LOGIN)


def test_signing_out_ends_the_session(open_page: Callable[..., Any], olga: User) -> None:
    page = open_page("/admin/", account=olga)
    expect(page).to_have_url(FRONT)
    with page.expect_navigation():
        page.evaluate("document.querySelector('#logout-form').submit()")
    page.goto("/admin/")
    expect(page).to_have_url(LOGIN)
