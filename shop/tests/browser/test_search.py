"""The search box in a browser: by keys alone, while a term is typed, and with answers that come late."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from shop.tests.browser.browser_thread import PATIENCE_SECONDS, BrowserThread, expect
from shop.tests.browser.stack import Stack
from shop.tests.factories import AccountFactory, SuperuserFactory
from shop.tests.racing import wait_until

HITS = "#sidebar-search-hits"


@pytest.fixture
def found(transactional_db: None) -> list[User]:
    return [AccountFactory.create(username=name) for name in ("marie.curie", "marie.noether")]


def test_a_late_answer_for_an_earlier_term_is_not_shown(
    open_page: Callable[..., Any], stack: Stack, browser_thread: BrowserThread, found: list[User]
) -> None:
    page, held = open_page("/admin/", account=SuperuserFactory.create()), list[Any]()
    # Kept on its way until the answer for the later term is shown.
    page.route(re.compile(r"/search/hits/\?q=marie\.c$"), lambda route: held.append(route))
    page.keyboard.press("Control+k")
    page.keyboard.type("marie.c")
    wait_until(lambda: page.evaluate("true") and len(held) == 1, seconds=PATIENCE_SECONDS)
    page.keyboard.press("Backspace")
    page.keyboard.type("n")
    options = page.locator(f"{HITS} [role=option]")
    expect(options).to_have_text([re.compile("marie.noether")])

    browser_thread.call(held[0].continue_)
    page.evaluate("fetch('/admin/search/hits/?q=marie').then(answer => answer.json())")

    expect(options).to_have_text([re.compile("marie.noether")])
    page.keyboard.press("Escape")
    expect(page.locator(HITS)).to_be_hidden()
    expect(page.locator("#sidebar-search")).to_be_focused()
