"""Debian's Chromium, driven by Playwright: browser tests start it here."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from scripts.stack import SetupError, ports, system_packages

PACKAGE = "chromium"
PROGRAMS = ("chromium-headless-shell", "chromium")
"""The first that is installed. Without a user interface, pages take a quarter less processor time."""
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
    found = [shutil.which(name, path=system_packages.SEARCH_PATH) for name in PROGRAMS]
    program = next(filter(None, found), None)
    if program is None:
        line = system_packages.line_to_install([PACKAGE])
        raise SetupError(f"{PACKAGE} is missing; run this first: {line}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=_arguments(), timeout=START_SECONDS * 1000
        )
        yield browser
        browser.close()


def _arguments() -> list[str]:
    # Chromium refuses to start as root with its sandbox.
    return [*_ARGUMENTS, *(["--no-sandbox"] if os.getuid() == 0 else [])]
