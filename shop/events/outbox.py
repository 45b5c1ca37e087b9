"""The outbox: delivers the journal's outgoing lines, which are events, to the data platform.

Each event is delivered at least once, and the events of an order in sequence. One that is refused for good is
retried, and becomes dead after the same answer for `EVENT_REFUSED_SECONDS`; it blocks the later events of its
order until it is replayed. The receiver drops duplicates by id, so two relays at once are not wrong.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial, reduce
from operator import or_
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import F, Min, Q, QuerySet
from prometheus_client import Counter
from structlog import get_logger

from shop import clock
from shop.db import transactions
from shop.events import data_platform
from shop.models import JournalLine
from shop.observability import logs
from shop.outbound import backoff
from shop.redis import lease

log = get_logger(__name__)
DELIVERIES = Counter(
    "firstcome_event_deliveries", "Events that were sent to the data platform, by the outcome.", ["outcome"]
)

QUEUED, DELIVERED, DEAD = (
    JournalLine.Delivery.QUEUED,
    JournalLine.Delivery.DELIVERED,
    JournalLine.Delivery.DEAD,
)
# Even an old event has this many attempts, because it may have been blocked for long.
FEWEST_ATTEMPTS = 5
PASS_SECONDS = 10
LEASE_NAME = "firstcome:relay"
# Without Redis everybody has the lease: of a process one thread at a time waits for a slow data platform.
_relay_mutex = threading.Lock()


class _EventLine(NamedTuple):
    """The columns needed to deliver a journal line; building model objects would double a batch's cost."""

    id: int
    order_id: UUID | None
    what: str
    at: datetime
    after: dict[str, Any] | None
    delivery: str
    attempts: int
    next_attempt_at: datetime | None
    last_error: str
    event_id: UUID
    refused_at: datetime | None
    requeued_at: datetime | None


class _Failure(NamedTuple):
    """A line that was sent and not accepted; `refused_at` is since when it is refused for good so."""

    line: _EventLine
    error: str
    refused_at: datetime | None
    is_dead: bool

    @property
    def outcome(self) -> str:
        return "dead" if self.is_dead else "refused" if self.refused_at else "failed"


@dataclass(slots=True)
class _BatchResult:
    """The result of a batch, line by line; lines in neither list were not sent. `has_followers` when later
    events were waiting for these.
    """

    accepted: list[_EventLine] = field(default_factory=list)
    failures: list[_Failure] = field(default_factory=list)
    is_platform_failing: bool = False
    has_followers: bool = False

    def fail(self, lines: Iterable[_EventLine], error: str) -> None:
        """Add lines whose delivery failed; those that are too old become dead."""
        self.is_platform_failing = True
        for line in lines:
            is_dead = _is_too_old(line)
            self.failures.append(_Failure(line, f"given up: {error}" if is_dead else error, None, is_dead))

    def refuse(self, line: _EventLine, error: str) -> None:
        """Add a line that was refused for good; it becomes dead after the same status for long enough."""
        now = clock.now()
        # The rest of the answer may differ each time.
        is_same = line.last_error.split()[:2] == error.split()[:2]
        since = (is_same and line.refused_at) or now
        is_dead = (now - since).total_seconds() >= settings.EVENT_REFUSED_SECONDS
        self.failures.append(_Failure(line, error, since, is_dead))


def deliver_due() -> int:
    """Deliver the due events in batches, until none is left or a batch fails. Returns how many."""
    delivered, ends_at = 0, time.monotonic() + PASS_SECONDS
    if not _relay_mutex.acquire(blocking=False):
        return 0
    try:
        with lease.acquired(LEASE_NAME) as is_ours:
            while is_ours and time.monotonic() < ends_at and (lines := sorted(_read_batch(due()))):
                outcome = _send_and_record(_select_next_in_order(lines))
                delivered += len(outcome.accepted)
                # Events that become due during the last batch wait for the next pass, to share a batch.
                is_last = len(lines) < settings.EVENTS_AT_ONCE and not outcome.has_followers
                if outcome.is_platform_failing or is_last:
                    break
    finally:
        _relay_mutex.release()
    return delivered


def queued_count() -> int:
    return JournalLine.objects.filter(delivery=QUEUED).count()


def refused_count() -> int:
    """The number of queued events that were refused for good at their last attempt."""
    return JournalLine.objects.filter(delivery=QUEUED, refused_at__isnull=False).count()


def oldest_age_seconds() -> float:
    """The age of the oldest queued event; 0 when none is queued."""
    oldest = JournalLine.objects.filter(delivery=QUEUED).aggregate(id=Min("id"))["id"]
    line = JournalLine.objects.filter(id=oldest).first()
    return max(0.0, (clock.now() - line.at).total_seconds()) if line else 0.0


def due() -> "QuerySet[JournalLine]":
    return JournalLine.objects.filter(delivery=QUEUED, next_attempt_at__lte=clock.now()).order_by(
        "next_attempt_at", "id"
    )


def _select_next_in_order(lines: Sequence[_EventLine]) -> list[_EventLine]:
    """The lines whose earlier undelivered lines are all in this batch; the others are postponed until those
    are delivered.
    """
    own_ids = {line.id for line in lines}
    blocked: set[UUID | None] = set()
    waiting: set[int] = set()
    for id, order_id in _unsent({line.order_id for line in lines}).values_list("id", "order_id"):
        if id not in own_ids:
            blocked.add(order_id)
        elif order_id in blocked:
            waiting.add(id)
    if waiting:
        later = [line for line in lines if line.id in waiting]
        transactions.run(partial(_postpone_blocked, later), transactions.REPEATABLE)
    return [line for line in lines if line.id not in waiting]


def _postpone_blocked(lines: Iterable[_EventLine]) -> None:
    """Postpone the lines, except those made due since they were read: their next attempt has changed."""
    unchanged = reduce(or_, (Q(id=line.id, next_attempt_at=line.next_attempt_at) for line in lines))
    later = clock.now() + timedelta(seconds=backoff.LONGEST_SECONDS)
    JournalLine.objects.filter(unchanged, delivery=QUEUED).update(next_attempt_at=later)


def _unsent(order_ids: Collection[UUID | None]) -> "QuerySet[JournalLine]":
    """The undelivered events of these orders, in sequence."""
    named = {order_id for order_id in order_ids if order_id}
    return JournalLine.objects.filter(order_id__in=named, delivery__in=(QUEUED, DEAD)).order_by("id")


def _read_batch(lines: "QuerySet[JournalLine]") -> list[_EventLine]:
    """The first batch of the query."""
    return [_EventLine(*line) for line in lines.values_list(*_EventLine._fields)[: settings.EVENTS_AT_ONCE]]


def _send_and_record(lines: Sequence[_EventLine]) -> _BatchResult:
    """Send the batch, one by one if a part of it is refused, and record the result. Lines refused before are
    sent after the others, one by one, with the later lines of their orders.
    """
    outcome = _BatchResult()
    if not lines:
        return outcome
    suspects = {line.order_id or line.id for line in lines if line.refused_at}
    _send_batch([line for line in lines if (line.order_id or line.id) not in suspects], outcome)
    if not outcome.is_platform_failing:
        _send_one_by_one([line for line in lines if (line.order_id or line.id) in suspects], outcome)
    transactions.run(partial(_record_result, outcome), transactions.REPEATABLE)
    data_platform.note_health(is_failing=not outcome.accepted)
    # Two relays at once count an event twice.
    DELIVERIES.labels("delivered").inc(len(outcome.accepted))
    for failure in outcome.failures:
        DELIVERIES.labels(failure.outcome).inc()
    _log_refusals(outcome)
    return outcome


def _log_refusals(outcome: _BatchResult) -> None:
    refused = [failure for failure in outcome.failures if failure.outcome == "refused"]
    if refused:
        with logs.bound_to(lambda: logs.merge_ids([_ids(failure.line) for failure in refused])):
            log.warning("events are refused; they are retried", events=len(refused), error=refused[-1].error)
    for failure in outcome.failures:
        if failure.is_dead:
            with logs.bound_to(partial(_ids, failure.line)):
                log.error("event is dead: see replay_events", what=failure.line.what, error=failure.error)


def _ids(line: _EventLine) -> dict[str, str]:
    """The ids of an event, by the keys of log lines."""
    return {"event_id": str(line.event_id)} | ({"order": str(line.order_id)} if line.order_id else {})


def _send_batch(lines: Sequence[_EventLine], outcome: _BatchResult) -> None:
    if not lines:
        return
    result = data_platform.send([_payload(line) for line in lines])
    if not result.error:
        outcome.accepted += lines
    elif result.is_final:
        _send_one_by_one(lines, outcome)
    else:
        outcome.fail(lines, result.error)


def _send_one_by_one(lines: Sequence[_EventLine], outcome: _BatchResult) -> None:
    """Find the lines that are refused for good, until an attempt fails, for `PASS_SECONDS` at most. Later
    lines of their orders wait.
    """
    ends_at = time.monotonic() + PASS_SECONDS
    blocked: set[UUID] = set()
    for line in lines:
        if line.order_id in blocked or time.monotonic() > ends_at:
            continue
        result = data_platform.send([_payload(line)])
        if not result.error:
            outcome.accepted.append(line)
        elif not result.is_final:
            outcome.fail([line], result.error)
            return
        else:
            outcome.refuse(line, result.error)
            blocked |= {line.order_id} if line.order_id else set()


def _payload(line: _EventLine) -> dict[str, Any]:
    return {"id": str(line.event_id), "type": line.what, "occurred_at": line.at, "data": line.after or {}}


def _record_result(outcome: _BatchResult) -> None:
    """Write the result of the batch to the database; lines that were not sent stay due."""
    now = clock.now()
    JournalLine.objects.filter(id__in=[line.id for line in outcome.accepted]).exclude(
        delivery=DELIVERED
    ).update(delivery=DELIVERED, delivered_at=now, next_attempt_at=None, attempts=F("attempts") + 1)
    outcome.has_followers = _make_followers_due(outcome.accepted)
    alike: dict[tuple[int, str, datetime | None, bool], list[int]] = defaultdict(list)
    for line, error, refused_at, is_dead in outcome.failures:
        alike[line.attempts + 1, error[:255], refused_at, is_dead].append(line.id)
    for (attempts, error, refused_at, is_dead), ids in alike.items():
        retry_at = now + timedelta(seconds=backoff.pause_seconds(attempts))
        JournalLine.objects.filter(id__in=ids, delivery=QUEUED).update(
            delivery=DEAD if is_dead else QUEUED,
            next_attempt_at=None if is_dead else retry_at,
            attempts=attempts,
            last_error=error,
            refused_at=refused_at,
        )


def _make_followers_due(delivered: Sequence[_EventLine]) -> bool:
    """Make the lines due that were blocked by these. Returns whether there were any."""
    order_ids = {line.order_id for line in delivered if line.order_id}
    behind = JournalLine.objects.filter(order_id__in=order_ids, delivery=QUEUED)
    return bool(order_ids) and behind.update(next_attempt_at=clock.now()) > 0


def _is_too_old(line: _EventLine) -> bool:
    age_seconds = (clock.now() - (line.requeued_at or line.at)).total_seconds()
    return age_seconds > settings.EVENT_GIVE_UP_SECONDS and line.attempts + 1 >= FEWEST_ATTEMPTS
