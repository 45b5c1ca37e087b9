"""A browser for all tests of a process, and a running shop for those of this package."""

import re
import threading
from contextlib import ExitStack

import pytest

from inventory.tests.factories import ProductFactory
from scripts.tests.circles import boots
from shop.tests.browser import stack as stacks, storefront
from shop.tests.browser.browser_thread import PATIENCE_SECONDS, BrowserThread

# A page that is left ends its requests, and a download is no page.
_ABORTED = "net::ERR_ABORTED"


class Faults:
    """Collects the faults of a browser context; fails the test if it doesn't expect one."""

    def __init__(self):
        self._found: list[str] = []
        self._expected: list[str] = []
        self._lock = threading.Lock()

    def expect(self, pattern: str):
        """Let faults pass whose text matches: the answers that the test asks for."""
        self._expected.append(pattern)

    def watch(self, context):
        """Collect the faults of all pages of the context, which is called in the browser's thread."""
        context.on("console", self._take_message)
        context.on("weberror", lambda error: self._add(f"error of a script: {error.error}"))
        context.on("requestfailed", self._take_failure)
        context.on("response", self._take_response)

    def unexpected(self) -> list[str]:
        with self._lock:
            return [
                fault for fault in self._found if not any(re.search(one, fault) for one in self._expected)
            ]

    def _add(self, fault):
        with self._lock:
            self._found.append(fault)

    def _take_message(self, message):
        # Chromium's line for a refused request lacks what `_take_response` has.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self._add(f"console: {message.text} ({message.location.get('url')})")

    def _take_failure(self, request):
        if request.failure != _ABORTED:
            self._add(f"failed: {request.method} {request.url} {request.failure}")

    def _take_response(self, response):
        if response.status >= 400:
            self._add(f"{response.status}: {response.request.method} {response.url}")


@pytest.fixture(scope="session")
@boots("a browser")
def browser_thread():
    thread = BrowserThread()
    yield thread
    thread.close()


# Not for the session: its worker would take the tasks of other packages' tests.
@pytest.fixture(scope="package")
@boots("a shop and a browser")
def _processes(django_db_setup, gateway_process, data_platform_process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    with stacks.running(folder, gateway_process[0], data_platform_process[0]) as stack:
        yield stack


@pytest.fixture
def stack(transactional_db, own_gateway, own_data_platform, _processes):
    """The running shop, with empty tables and books."""
    return _processes


@pytest.fixture
def faults():
    """What goes wrong on the test's pages; fails the test if it has not expected it."""
    faults = Faults()
    yield faults
    assert faults.unexpected() == []


@pytest.fixture
def open_page(stack, browser_thread, faults):
    """Opens a page in a browser context of its own: `open_page(path, account=olga, width=390)`.

    With an account, it is signed in on the operators' pages. Other arguments are Playwright's for a context.
    """
    with ExitStack() as opened:

        def open_page(
            path="",
            *,
            account=None,
            address=stack.address,
            # Up to 1280, unfold's newest shows no sidebar.
            width=1366,
            **options,
        ):
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
def mina(transactional_db):
    return storefront.buyer("mina")


@pytest.fixture
def mug(transactional_db):
    return ProductFactory(name="Mug", price=12_000, on_hand=5)
