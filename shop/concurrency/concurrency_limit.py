"""Limits how many requests wait for a hot row of the database, for strategies that lock it once per request.

InnoDB treats more than 200 waiters on a row as a deadlock, and scans all of them for each new one.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shop.errors import Overloaded
from shop.lazy_texts import Text
from shop.lazy_texts import mark as _

MAX_CONCURRENT = 64
MAX_QUEUED = 5_000
WAIT_SECONDS = 10.0


class ConcurrencyLimit:
    """Permits for one row, and the queue before them; both belong to this process."""

    def __init__(
        self,
        *,
        name: Text,
        max_concurrent: int = MAX_CONCURRENT,
        max_queued: int = MAX_QUEUED,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._name = name
        self._inside = threading.BoundedSemaphore(max_concurrent + max_queued)
        self._permits = threading.BoundedSemaphore(max_concurrent)
        self._wait_seconds = wait_seconds

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Hold a permit while the block runs. Raises `Overloaded` if the queue is full or too slow."""
        if not self._inside.acquire(blocking=False):
            raise Overloaded(_("Too many requests are waiting for {row}; nothing was done.", row=self._name))
        try:
            if not self._permits.acquire(timeout=self._wait_seconds):
                raise Overloaded(
                    _("The request waited too long for {row}; nothing was done.", row=self._name)
                )
            try:
                yield
            finally:
                self._permits.release()
        finally:
            self._inside.release()
