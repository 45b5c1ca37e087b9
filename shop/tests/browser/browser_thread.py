"""Playwright in a thread of its own, and stand-ins for its objects in the thread of a test.

Playwright keeps an event loop running in the thread that uses it. There Django refuses statements and
`foundation.redis` refuses calls, which tests need beside the browser, and later tests of the process could
run no loop. So a test holds stand-ins, of which each call and each attribute is evaluated in the browser's
thread.
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from playwright import sync_api

from scripts.stack import ports, system_packages

OPTIONS = (
    *(f"--disable-{name}" for name in ("gpu", "quic", "background-networking", "component-update", "sync")),
    "--no-first-run",
    "--no-default-browser-check",
    # Pages of the shop load nothing from elsewhere: on no machine is a name looked up that one asks for.
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {ports.HOST}",
)
PATIENCE_SECONDS = 40
"""How long an assertion or an action waits for its condition: some tests run on a busy machine."""


@contextmanager
def _chromium():
    """Debian's, headless, until the block ends. Raises SetupError where it is not installed."""
    # Without a user interface, pages take a quarter less processor time.
    shell = shutil.which("chromium-headless-shell", path=system_packages.SEARCH_PATH)
    own = [*OPTIONS, *(["--no-sandbox"] if os.getuid() == 0 else [])]
    with sync_api.sync_playwright() as playwright:
        program = shell or system_packages.program("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=own, timeout=120_000)
        yield browser
        browser.close()


class BrowserThread:
    """The thread, with a running Chromium as `browser`, until `close`."""

    def __init__(self):
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="browser")
        self._running = ExitStack()
        self.browser = self.call(self._running.enter_context, _chromium())
        sync_api.expect.set_options(timeout=PATIENCE_SECONDS * 1000)

    def close(self):
        self.call(self._running.close)
        self._thread.shutdown()

    def call(self, function: Callable[..., Any], *arguments, **named):
        """The function's result, or its exception; stand-ins stand for what they are of, there and back."""
        given = [_target(argument) for argument in arguments]
        given_named = {name: _target(argument) for name, argument in named.items()}
        return self._stand_in(self._thread.submit(function, *given, **given_named).result())

    def _stand_in(self, result):
        if isinstance(result, list):
            return [self._stand_in(one) for one in result]
        return StandIn(self, result) if type(result).__module__.startswith("playwright.") else result


class StandIn:
    """Stands for an object of Playwright's, with all of its attributes and methods."""

    def __init__(self, thread, target):
        self._thread, self._target = thread, target

    def __getattr__(self, name):
        value = self._thread.call(getattr, self._target, name)
        if not callable(value):
            return value
        return lambda *arguments, **named: self._thread.call(value, *arguments, **named)

    def __setattr__(self, name, value):
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self._thread.call(setattr, self._target, name, value)

    def __enter__(self):
        return self._thread.call(self._target.__enter__)

    def __exit__(self, *failure):
        self._thread.call(self._target.__exit__, *failure)


def expect(stand_in):
    """Playwright's `expect` of what it stands for."""
    return stand_in._thread.call(sync_api.expect, stand_in._target)


def _target(argument):
    return argument._target if isinstance(argument, StandIn) else argument
