"""A circuit breaker with one failure as its threshold, for systems that are called with short timeouts."""

import threading
import time


class Breaker:
    """Refuses calls to a system that failed lately, where each failing call would cost a timeout.

    After a failure it refuses all calls for `seconds`, then lets one call through at a time until one works.
    A call that reports nothing for `longest_try_seconds` no longer keeps others back.
    """

    def __init__(self, *, seconds: float = 1.0, longest_try_seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._longest_try_seconds = longest_try_seconds
        self._mutex = threading.Lock()
        self._away_until: float | None = None

    def lets_through(self) -> bool:
        """Whether the call may be made; its result must be reported by `worked` or `failed`."""
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
