"""The status of unfinished sagas: which of them need an operator, and how far the workers are behind.

Payments are accepted no faster than they are settled: requests are held while the workers are behind. Without
a live worker none is: sagas stay in the database until one starts.
"""

import threading
import time
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import Error
from django.db.models import Count, Prefetch, Q, QuerySet
from django.utils.translation import gettext
from structlog import get_logger

from foundation import clock
from foundation.concurrency import event_loop
from foundation.concurrency.thread_pool import LOOKUP_POOL
from foundation.errors import Overloaded
from foundation.lazy_texts import mark
from orders.models import Saga, SagaLog
from orders.saga import rows as saga_rows
from orders.saga.definitions import AT_ONCE, LEASE_SECONDS, OF_WEB, SAGA_TYPES, WorkClass
from payments.models import Payment

log = get_logger(__name__)
READ_AT_ONCE = 500
# Age of the oldest new saga; above it new payments are held.
MAX_BACKLOG_SECONDS = 1.5
# How long a request is held before it is refused.
MAX_HELD_SECONDS = 5.0
# Requests of a process that may be held at once; they occupy no thread.
MOST_HELD = 5_000
# The time between two measurements, which all requests of a process share.
READ_INTERVAL_SECONDS = 0.5


def _unfinished() -> "QuerySet[Saga]":
    """The unfinished sagas, found by the index on the next attempt: the state has none."""
    return Saga.objects.filter(next_attempt_at__isnull=False)


def read_unfinished() -> Iterator[Saga]:
    """The unfinished sagas, as `with_final_lines` has them, the earliest deadline first."""
    return with_final_lines(_unfinished().order_by("deadline_at", "id")).iterator(chunk_size=READ_AT_ONCE)


def read_needing_operator(*, most: int | None = None) -> Iterator[Saga]:
    """Those that need an operator, at most `most`: stuck, or past their deadline and not yet retried."""
    sagas = filter_needing_operator(Saga.objects.order_by("deadline_at", "id"))[:most]
    return with_final_lines(sagas).iterator(chunk_size=READ_AT_ONCE)


def count_needing_operator(*, most: int) -> int:
    """How many sagas need an operator; `most` stands for so many or more."""
    return filter_needing_operator(Saga.objects.all())[:most].count()


def filter_needing_operator(sagas: "QuerySet[Saga]") -> "QuerySet[Saga]":
    overdue = Q(state=Saga.State.RUNNING, deadline_at__lt=clock.now())
    return sagas.filter(Q(state=Saga.State.STUCK) | overdue, next_attempt_at__isnull=False)


def count_stuck() -> dict[str, int]:
    return count_unfinished(state=Saga.State.STUCK)


def count_unfinished(**only: str) -> dict[str, int]:
    """How many sagas of each type are unfinished."""
    counted = _unfinished().filter(**only).values_list("kind").annotate(count=Count("id"))
    return dict.fromkeys(SAGA_TYPES, 0) | dict(counted)


def filter_unsettled(payments: "QuerySet[Payment]", statuses: Collection[str]) -> "QuerySet[Payment]":
    """Those in one of these unsettled statuses, by their unfinished sagas: the status has no index."""
    return payments.filter(id__in=_unfinished().values("subject_id"), status__in=statuses)


def oldest_due_seconds() -> float:
    """For how many seconds the saga that is due first has waited for an executor; 0 when none is due."""
    # Each by the index: a new one, which is due at once, waits since its start.
    new = Saga.objects.filter(next_attempt_at=AT_ONCE).order_by("id").values_list("created_at", flat=True)
    others = Saga.objects.filter(next_attempt_at__gt=AT_ONCE).order_by("next_attempt_at")
    first = [at for at in (*new[:1], *others.values_list("next_attempt_at", flat=True)[:1]) if at]
    return clock.age_seconds(min(first)) if first else 0.0


def with_final_lines(sagas: "QuerySet[Saga]") -> "QuerySet[Saga]":
    """These sagas with their final log lines, which show the current step: one query for all."""
    return sagas.prefetch_related(Prefetch("log", SagaLog.objects.filter(attempt=0), to_attr="final_lines"))


def step_name(saga: Any) -> str:
    """The step that a saga with its final lines is at; empty at its end, and if its type is unknown here."""
    if saga.ended_at or saga.kind not in SAGA_TYPES:
        return ""
    final = {line.step for line in saga.final_lines if line.direction == saga.direction}
    step = SAGA_TYPES[saga.kind].next_step(saga.direction, final, is_irreversible=saga.is_irreversible)
    return step.name if step else ""


def shown_kind(saga: Saga) -> str:
    """The saga's kind; it says so if this release has no such type."""
    if saga.kind in SAGA_TYPES:
        return saga.kind
    return gettext("%(kind)s (of another release)") % {"kind": saga.kind}


def late_since(saga: Saga) -> datetime | None:
    """The deadline of an unfinished saga, once that has passed."""
    return saga.deadline_at if saga.deadline_at < clock.now() else None


# The backlog


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


class BacklogGate:
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


gate = BacklogGate()
