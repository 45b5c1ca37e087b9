"""Remembering that something is away, so that not everybody has to find out."""

import threading
import time


class Breaker:
    """Stands before something that may be away, and where each failing call would cost a timeout.

    After a failure nobody is let through for `seconds`, and then one caller at a time, until it works. Who
    says nothing for `longest_try_seconds` is not waited for.
    """

    def __init__(self, *, seconds: float = 1.0, longest_try_seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._longest_try_seconds = longest_try_seconds
        self._mutex = threading.Lock()
        self._away_until: float | None = None

    def lets_through(self) -> bool:
        """Whether to try; say afterwards whether it `worked` or `failed`."""
        if self._away_until is None:
            return True
        with self._mutex:
            now = time.monotonic()
            if self._away_until is not None and now < self._away_until:
                return False
            self._away_until = now + self._longest_try_seconds
            return True

    def worked(self) -> None:
        self._away_until = None

    def failed(self) -> None:
        self._away_until = time.monotonic() + self._seconds
