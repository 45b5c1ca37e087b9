"""Every address of the operators' pages that shows a page, opened in a browser and examined there."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shop.tests import admin_addresses
from shop.tests.browser import accessibility
from shop.tests.browser.stack import HTTP, Stack, session_of
from shop.tests.factories import SuperuserFactory
from shop.tests.test_admin_pages import fill_all_models

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
