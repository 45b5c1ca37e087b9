"""Measures how far the workers are behind: payments are accepted no faster than they are settled.

Without a live worker no request is held: sagas stay in the database until one starts.
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import Error
from structlog import get_logger

from orders.models import Saga
from orders.saga import store
from orders.saga.definitions import AT_ONCE, LEASE_SECONDS
from shop import clock
from shop.concurrency import event_loop
from shop.concurrency.thread_pool import LOOKUP_POOL
from shop.errors import Overloaded
from shop.lazy_texts import mark as _

logger = get_logger(__name__)
# Age of the oldest new saga; above it new payments are held.
MAX_BACKLOG_SECONDS = 1.5
# How long a request is held before it is refused.
MAX_HELD_SECONDS = 5.0
# Requests of a process that may be held at once; they occupy no thread.
MOST_HELD = 5_000
# The time between two measurements, which all requests of a process share.
READ_INTERVAL_SECONDS = 0.5


def oldest_waiting_seconds() -> float:
    """How long the oldest new saga has waited for a worker; 0 if none waits, or no worker is alive."""
    now = clock.now()
    # Not those that wait longer than a lease: what is wrong with them, or came before the workers, no request
    # mends by waiting.
    since = now - timedelta(seconds=LEASE_SECONDS)
    new = store.due().filter(next_attempt_at=AT_ONCE, created_at__gt=since)
    oldest = new.order_by("id").values_list("created_at", flat=True).first()
    # A live worker renews its leases before less than a quarter of their time is left.
    soon = now + timedelta(seconds=LEASE_SECONDS / 4)
    is_worker_alive = Saga.objects.filter(next_attempt_at__gt=soon, leased_until__gt=soon)
    return (now - oldest).total_seconds() if oldest and is_worker_alive.exists() else 0.0


class BacklogGate:
    """Holds requests of this process while the workers are behind, at most `most_held` of them."""

    def __init__(
        self, *, most_held: int = MOST_HELD, read: Callable[[], float] = oldest_waiting_seconds
    ) -> None:
        self._read = read
        self._most_held = most_held
        self._held = 0
        self._mutex = threading.Lock()
        self._waiting_seconds = 0.0
        self._read_at = float("-inf")

    async def wait_for_capacity(self) -> None:
        """Return once the workers are not behind. Raises `Overloaded` after `MAX_HELD_SECONDS`."""
        if not await self.is_behind():
            return
        if self._held >= self._most_held:
            raise _overloaded()
        self._held += 1
        try:
            ends_at = time.monotonic() + MAX_HELD_SECONDS
            while await self.is_behind():
                if time.monotonic() > ends_at:
                    raise _overloaded()
                await event_loop.sleep(READ_INTERVAL_SECONDS / 2)
        finally:
            self._held -= 1

    async def is_behind(self) -> bool:
        """Whether workers were behind at the last measurement.

        One request at a time measures again; the others use the old value.
        """
        is_old = time.monotonic() - self._read_at > READ_INTERVAL_SECONDS
        if is_old and self._mutex.acquire(blocking=False):
            try:
                await event_loop.run_in_thread(self._measure, pool=LOOKUP_POOL)
            finally:
                self._mutex.release()
        return self._waiting_seconds > MAX_BACKLOG_SECONDS

    def _measure(self) -> None:
        try:
            self._waiting_seconds = self._read()
        except Error as error:
            # The order's own transaction reports the database error.
            logger.info("the backlog can't be read", error=str(error))
            self._waiting_seconds = 0.0
        finally:
            self._read_at = time.monotonic()


def _overloaded() -> Overloaded:
    return Overloaded(_("Payments arrive faster than they are settled; nothing was done."))


gate = BacklogGate()
