"""A browser for all tests of a process, and a running shop for those of this package."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.auth.models import User

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from scripts.tests.circles import boots
from shop.tests.browser import stack as stacks, storefront
from shop.tests.browser.browser_thread import PATIENCE_SECONDS, BrowserThread
from shop.tests.browser.faults import Faults
from shop.tests.browser.stack import Stack


@pytest.fixture(scope="session")
@boots("a browser")
def browser_thread() -> Iterator[BrowserThread]:
    thread = BrowserThread()
    yield thread
    thread.close()


# Not for the session: its worker would take the tasks of other packages' tests.
@pytest.fixture(scope="package")
@boots("a shop and a browser")
def _processes(django_db_setup, gateway_process, data_platform_process, tmp_path_factory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("shop")
    with stacks.running(folder, gateway_process[0], data_platform_process[0]) as stack:
        yield stack


@pytest.fixture
def stack(transactional_db, own_gateway, own_data_platform, _processes) -> Stack:
    """The running shop, with empty tables and books."""
    return _processes


@pytest.fixture
def faults() -> Iterator[Faults]:
    """What goes wrong on the test's pages; fails the test if it has not expected it."""
    faults = Faults()
    yield faults
    assert faults.unexpected() == []


@pytest.fixture
def open_page(stack, browser_thread, faults) -> Iterator[Callable[..., Any]]:
    """Opens a page in a browser context of its own: `open_page(path, account=olga, width=390)`.

    With an account, it is signed in on the operators' pages. Other arguments are Playwright's for a context.
    """
    with ExitStack() as opened:

        def open_page(
            path: str = "",
            *,
            account: User | None = None,
            address: str = stack.address,
            width: int = 1280,
            **options: Any,
        ) -> Any:
            options = {"locale": "en-GB", "color_scheme": "light", "reduced_motion": "reduce"} | options
            context = browser_thread.browser.new_context(
                base_url=address, viewport={"width": width, "height": 900}, **options
            )
            opened.callback(context.close)
            context.set_default_timeout(PATIENCE_SECONDS * 1000)
            browser_thread.call(faults.watch, context)
            if account is not None:
                cookie = {"name": "sessionid", "value": stacks.session_of(account), "url": address}
                context.add_cookies([cookie])
            page = context.new_page()
            if path:
                page.goto(path)
            return page

        yield open_page


@pytest.fixture
def mina(transactional_db) -> User:
    return storefront.buyer("mina")


@pytest.fixture
def mug(transactional_db) -> Product:
    return ProductFactory.create(name="Mug", price=12_000, on_hand=5)
