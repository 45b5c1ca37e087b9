"""Debian's Chromium, driven by Playwright: browser tests start it here."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from scripts.stack import ports, system_packages

START_SECONDS = 120
_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    # Pages of the shop load nothing from elsewhere: on no machine is a name looked up that one asks for.
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {ports.HOST}",
)


@contextmanager
def running() -> Iterator[Browser]:
    """A headless browser, which ends with the block. Raises `SetupError` where Chromium is not installed."""
    # Without a user interface, pages take a quarter less processor time.
    shell = shutil.which("chromium-headless-shell", path=system_packages.SEARCH_PATH)
    # Chromium refuses to start as root with its sandbox.
    arguments = [*_ARGUMENTS, *(["--no-sandbox"] if os.getuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shell or system_packages.program("chromium"),
            args=arguments,
            timeout=START_SECONDS * 1000,
        )
        yield browser
        browser.close()
