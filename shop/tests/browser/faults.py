"""What goes wrong on the pages of a test: errors of scripts, refused contents, failed requests."""

import re
import threading
from typing import Any

# A page that is left ends its requests, and a download is no page.
_ABORTED = "net::ERR_ABORTED"


class Faults:
    """Collects the faults of a browser context; fails the test if it doesn't expect one."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._expected: list[str] = []
        self._lock = threading.Lock()

    def expect(self, pattern: str) -> None:
        """Let faults pass whose text matches: the answers that the test asks for."""
        self._expected.append(pattern)

    def watch(self, context: Any) -> None:
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

    def _add(self, fault: str) -> None:
        with self._lock:
            self._found.append(fault)

    def _take_message(self, message: Any) -> None:
        # Chromium's line for a refused request lacks what `_take_response` has.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self._add(f"console: {message.text} ({message.location.get('url')})")

    def _take_failure(self, request: Any) -> None:
        if request.failure != _ABORTED:
            self._add(f"failed: {request.method} {request.url} {request.failure}")

    def _take_response(self, response: Any) -> None:
        if response.status >= 400:
            self._add(f"{response.status}: {response.request.method} {response.url}")
