"""For strategies that touch a hot row of the database once per request: a limit, and optimistic locking.

InnoDB treats more than 200 waiters on a row as a deadlock, and scans all of them for each new one.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.conf import settings
from prometheus_client import Counter

from foundation.db.transactions import ChangedMeanwhile
from foundation.errors import Overloaded, Rejected
from foundation.lazy_texts import Text, mark

T = TypeVar("T")
MAX_CONCURRENT = 64
MAX_OPTIMISTIC = 4
"""A second writer waits for the first one's row lock, only to find that the row has changed."""
WAIT_SECONDS = 10.0
# A pause is random, up to a bound that doubles from the first to the second of these.
FIRST_PAUSE_SECONDS = 0.005
MAX_PAUSE_SECONDS = 0.25


class ConcurrencyLimit:
    """Permits of this process for one row; those that wait for one are bounded by the threads it has."""

    def __init__(
        self, *, name: Text, max_concurrent: int = MAX_CONCURRENT, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._name = name
        self._permits = threading.BoundedSemaphore(max_concurrent)
        self._wait_seconds = wait_seconds

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Hold a permit while the block runs. Raises `Overloaded` if none is free in time."""
        if not self._permits.acquire(timeout=self._wait_seconds):
            raise Overloaded(mark("The request waited too long for {row}; nothing was done.", row=self._name))
        try:
            yield
        finally:
            self._permits.release()


def retry_until_unchanged(
    work: Callable[[], T], *, concurrency_limit: ConcurrencyLimit, retries: Counter, wanted: Text
) -> T:
    """Repeat `work`, which opens its own transaction, after a pause until it raises no `ChangedMeanwhile`.

    Each further attempt counts on `retries`. Raises `Rejected` `conflict` after `OPTIMISTIC_RETRIES` retries,
    and `Overloaded` as `ConcurrencyLimit` does.
    """
    for attempt in range(settings.OPTIMISTIC_RETRIES + 1):
        if attempt:
            retries.inc()
            time.sleep(random.uniform(0, min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt)))  # noqa: S311 - jitter
        try:
            with concurrency_limit.permit():
                return work()
        except ChangedMeanwhile:
            continue
    raise Rejected(
        mark("Too many concurrent requests for {wanted}; nothing was done.", wanted=wanted),
        code="conflict",
        retry_after=1,
    )
