"""How far the workers are behind.

Payments are accepted no faster than they are settled: requests are held while the workers are behind. Without
a live worker none is: sagas stay in the database until one starts.
"""

import threading
import time
from datetime import timedelta

from django.db import Error
from structlog import get_logger

from foundation import clock
from foundation.concurrency import event_loop
from foundation.concurrency.thread_pool import LOOKUP_POOL
from foundation.errors import Overloaded
from foundation.lazy_texts import mark
from orders.models import Saga
from orders.saga import rows as saga_rows
from orders.saga.definitions import LEASE_SECONDS, OF_WEB, WorkClass

log = get_logger(__name__)
# Age of the oldest new saga; above it new payments are held.
MAX_BACKLOG_SECONDS = 1.5
# How long a request is held before it is refused.
MAX_HELD_SECONDS = 5.0
# Requests of a process that may be held at once; they occupy no thread.
MOST_HELD = 5_000
# The time between two measurements, which all requests of a process share.
READ_INTERVAL_SECONDS = 0.5


def oldest_waiting_seconds() -> float:
    """How long the oldest new payment has waited for a worker; 0 if none waits, or no worker is alive."""
    now = clock.now()
    # Not those that wait longer than a lease: what is wrong with them, or came before the workers, no request
    # mends by waiting.
    since = now - timedelta(seconds=LEASE_SECONDS)
    new = saga_rows.due().filter(work_class=WorkClass.NEW, created_at__gt=since)
    oldest = new.order_by("id").values_list("created_at", flat=True).first()
    # A live worker renews its leases before less than a quarter of their time is left.
    soon = now + timedelta(seconds=LEASE_SECONDS / 4)
    leased = Saga.objects.filter(next_attempt_at__gt=soon, leased_until__gt=soon)
    is_worker_alive = leased.exclude(lease_token__startswith=OF_WEB)
    return (now - oldest).total_seconds() if oldest and is_worker_alive.exists() else 0.0


class BackPressure:
    """Holds requests of this process while the workers are behind, at most `MOST_HELD` of them."""

    def __init__(self) -> None:
        self._held = 0
        self._mutex = threading.Lock()
        self._waiting_seconds = 0.0
        self._read_at = float("-inf")
        # When a measurement ended last. Under traffic one is asked for again and again, even if none ends.
        self._measured_at = float("-inf")

    async def wait_for_capacity(self) -> None:
        """Return once the workers are not behind. Raises `Overloaded` after `MAX_HELD_SECONDS`."""
        is_full = self._held >= MOST_HELD
        ends_at = time.monotonic() + MAX_HELD_SECONDS
        self._held += 1
        try:
            while await self.is_behind():
                if is_full or time.monotonic() > ends_at:
                    raise Overloaded(mark("Payments arrive faster than they are settled; nothing was done."))
                await event_loop.sleep(READ_INTERVAL_SECONDS / 2)
        finally:
            self._held -= 1

    async def is_behind(self) -> bool:
        """Whether workers were behind at the last measurement, unless that is too old to hold a request.

        It is repeated beside the requests: only the first one of a process waits for a measurement.
        """
        now = time.monotonic()
        if now - self._measured_at > MAX_HELD_SECONDS:
            self._waiting_seconds = 0.0
        age_seconds = now - self._read_at
        if age_seconds > READ_INTERVAL_SECONDS:
            # Before the measurement: other requests start none meanwhile.
            self._read_at = now
            if age_seconds == float("inf"):
                await event_loop.run_in_thread(self._measure, pool=LOOKUP_POOL)
            else:
                event_loop.run_in_background(self._measure, pool=LOOKUP_POOL)
        return self._waiting_seconds > MAX_BACKLOG_SECONDS

    def _measure(self) -> None:
        if not self._mutex.acquire(blocking=False):
            return
        try:
            self._waiting_seconds = oldest_waiting_seconds()
        except Error as error:
            # The order's own transaction reports the database error.
            log.info("the backlog can't be read", error=error)
            self._waiting_seconds = 0.0
        finally:
            self._read_at = self._measured_at = time.monotonic()
            self._mutex.release()


back_pressure = BackPressure()
