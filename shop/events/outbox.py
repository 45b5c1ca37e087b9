"""The outbox: the journal's outgoing lines are events, delivered to the data platform.

Each at least once, and an order's in their order: an event goes only when all earlier ones of its order
are delivered, or go before it in the same batch. One that is refused for good is offered again by itself, and
dead when the same was answered for long enough; it holds back those after it until it is replayed. The
receiver drops by its id what comes again, so two relays at once are wasteful, never wrong; a lease keeps the
waste small. What is sent is marked once and never claimed before, event by event: that took
more of the database than writing it.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial, reduce
from itertools import groupby
from operator import or_
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import F, Min, Q, QuerySet
from structlog import get_logger

from shop import clock
from shop.db import transactions
from shop.events import data_platform
from shop.models import JournalLine
from shop.outbound import backoff
from shop.redis import lease

log = get_logger(__name__)

QUEUED, DELIVERED, DEAD = (
    JournalLine.Delivery.QUEUED,
    JournalLine.Delivery.DELIVERED,
    JournalLine.Delivery.DEAD,
)
# What an event gets however old it is: it may have been held back, or replayed.
FEWEST_ATTEMPTS = 5
PASS_SECONDS = 10
LEASE_NAME = "firstcome:relay"

# One relay is enough for a process: while the data platform is slow, the others' threads have work to do.
_relay_mutex = threading.Lock()


class _EventLine(NamedTuple):
    """What of a journal's line is needed to deliver it; a model's object costs as much as all the rest."""

    id: int
    order_id: UUID | None
    what: str
    at: datetime
    after: dict[str, Any] | None
    delivery: str
    attempts: int
    next_attempt_at: datetime | None
    last_error: str
    event_id: UUID | None
    refused_at: datetime | None


@dataclass(slots=True)
class _BatchResult:
    """What became of a batch, line by line. What is in none of these was not sent.

    `refused` were refused for good with this answer, and are tried again until EVENT_REFUSED_SECONDS pass.
    `is_platform_failing` when the data platform is away, or fails. `has_followers` when others waited for
    these.
    """

    taken: list[_EventLine] = field(default_factory=list)
    failed: list[_EventLine] = field(default_factory=list)
    refused: list[tuple[_EventLine, str]] = field(default_factory=list)
    dead: list[tuple[_EventLine, str]] = field(default_factory=list)
    error: str = ""
    is_platform_failing: bool = False
    has_followers: bool = False

    def fail(self, lines: Iterable[_EventLine], error: str) -> None:
        """These were sent in vain; for those that are too old it was the last time."""
        self.error, self.is_platform_failing = error, True
        for line in lines:
            if _is_too_old(line):
                self.dead.append((line, f"given up: {error}"))
            else:
                self.failed.append(line)

    def refuse(self, line: _EventLine, error: str) -> None:
        """This one was refused for good; it is dead when the same was answered for long enough."""
        self.error = error
        since = _refused_since(line, error) or clock.now()
        if (clock.now() - since).total_seconds() >= settings.EVENT_REFUSED_SECONDS:
            self.dead.append((line, error))
        else:
            self.refused.append((line, error))

    def not_accepted(self) -> list[_EventLine]:
        """Those that were sent and not taken."""
        return [*self.failed, *(line for line, _ in (*self.refused, *self.dead))]


def event_id(line: _EventLine | JournalLine) -> str:
    """The id by which an event is known outside, for good.

    It is not the row's: a server that is promoted without the last commits gives their numbers away again,
    and receivers would drop the new events as known. Events from before there were such ids keep the row's.
    """
    return str(line.event_id) if line.event_id else f"evt_{line.id}"


def deliver_due() -> int:
    """Deliver the events whose time has come, batch by batch while there are any. Returns how many.

    The first batch in vain ends it: the data platform is away, and asked again in a while.
    """
    if not _relay_mutex.acquire(blocking=False):
        return 0
    try:
        with lease.acquired(LEASE_NAME) as is_ours:
            return _deliver_batches() if is_ours else 0
    finally:
        _relay_mutex.release()


def deliver(order_id: UUID) -> str:
    """Deliver the order's queued events, due or not. Returns "" when none is left, else what is wrong."""
    return deliver_all([order_id]).get(order_id, "")


def deliver_all(order_ids: Collection[UUID]) -> dict[UUID, str]:
    """The same for many orders, in batches. Returns what is wrong by order, nothing for those delivered."""
    errors: dict[UUID, str] = {}
    while lines := _read_batch(_unsent(set(order_ids) - errors.keys())):
        ready = _without_blocked(lines, errors)
        outcome = _send_and_record(ready) if ready else _BatchResult()
        taken = {line.id for line in outcome.taken}
        held_up = (
            [line for line in ready if line.id not in taken]
            if outcome.is_platform_failing
            else outcome.not_accepted()
        )
        errors |= {line.order_id: outcome.error for line in held_up if line.order_id}
    return errors


def _without_blocked(lines: Sequence[_EventLine], errors: dict[UUID, str]) -> list[_EventLine]:
    """Those that no dead line of their order holds back; an order that begins with one is in `errors`."""
    dead: set[UUID | None] = set()
    ready: dict[int, _EventLine] = {}
    begun: set[UUID | None] = set()
    for line in lines:
        if line.delivery == DEAD:
            dead.add(line.order_id)
            if line.order_id and line.order_id not in begun:
                errors[line.order_id] = f"{event_id(line)} is dead: {line.last_error}"
        elif line.order_id not in dead:
            ready[line.id] = line
        begun.add(line.order_id)
    return list(ready.values())


def queued_count() -> int:
    return JournalLine.objects.filter(delivery=QUEUED).count()


def refused_count() -> int:
    """How many queued events were refused for good at their last attempt."""
    return JournalLine.objects.filter(delivery=QUEUED, refused_at__isnull=False).count()


def oldest_age_seconds() -> float:
    """How long the oldest queued event has waited; 0 when none waits."""
    oldest = JournalLine.objects.filter(delivery=QUEUED).aggregate(id=Min("id"))["id"]
    line = JournalLine.objects.filter(id=oldest).first()
    return max(0.0, (clock.now() - line.at).total_seconds()) if line else 0.0


def _deliver_batches() -> int:
    delivered, ends_at = 0, time.monotonic() + PASS_SECONDS
    while time.monotonic() < ends_at and (lines := _read_due()):
        ready = _select_next_in_order(lines)
        outcome = _send_and_record(ready) if ready else _BatchResult()
        delivered += len(outcome.taken)
        # What comes while the last batch goes waits for the next pass, to share a batch with others.
        is_last = len(lines) < settings.EVENTS_AT_ONCE and not outcome.has_followers
        if outcome.is_platform_failing or is_last:
            break
    return delivered


def _read_due() -> list[_EventLine]:
    """A batch that is due, oldest first."""
    due = JournalLine.objects.filter(delivery=QUEUED, next_attempt_at__lte=clock.now())
    return sorted(_read_batch(due.order_by("next_attempt_at", "id")))


def _select_next_in_order(lines: Sequence[_EventLine]) -> list[_EventLine]:
    """Those with no earlier open line of their order but in this batch; the others are put off.

    They are called again as soon as the earlier ones are delivered (`_wake`).
    """
    mine = {line.id for line in lines}
    blocked: set[UUID | None] = set()
    waiting: set[int] = set()
    for id, order_id in _unsent({line.order_id for line in lines}).values_list("id", "order_id"):
        if id not in mine:
            blocked.add(order_id)
        elif order_id in blocked:
            waiting.add(id)
    if waiting:
        later = [line for line in lines if line.id in waiting]
        transactions.run(partial(_postpone_blocked, later), transactions.REPEATABLE)
    return [line for line in lines if line.id not in waiting]


def _postpone_blocked(lines: Iterable[_EventLine]) -> None:
    """Not those that were called while we looked: they are due at another instant by now."""
    as_they_were = reduce(or_, (Q(id=line.id, next_attempt_at=line.next_attempt_at) for line in lines))
    later = clock.now() + timedelta(seconds=backoff.LONGEST_SECONDS)
    JournalLine.objects.filter(as_they_were, delivery=QUEUED).update(next_attempt_at=later)


def _unsent(order_ids: Collection[UUID | None]) -> "QuerySet[JournalLine]":
    """What these orders' events are that are not delivered, each order's in their order."""
    named = {order_id for order_id in order_ids if order_id}
    return JournalLine.objects.filter(order_id__in=named, delivery__in=(QUEUED, DEAD)).order_by("id")


def _read_batch(lines: "QuerySet[JournalLine]") -> list[_EventLine]:
    """The first batch of these."""
    return [_EventLine(*line) for line in lines.values_list(*_EventLine._fields)[: settings.EVENTS_AT_ONCE]]


def _send_and_record(lines: Sequence[_EventLine]) -> _BatchResult:
    """Send the batch, one by one if something in it is refused, and write down what became of it.

    What was refused before goes one by one after the others, with what follows it in its order.
    """
    suspects = {line.order_id or line.id for line in lines if line.refused_at}
    outcome = _send_batch([line for line in lines if (line.order_id or line.id) not in suspects])
    if not outcome.is_platform_failing:
        _send_one_by_one([line for line in lines if (line.order_id or line.id) in suspects], outcome)
    transactions.run(partial(_record_result, outcome), transactions.REPEATABLE)
    if outcome.refused:
        log.warning("events are refused; tried again", events=len(outcome.refused), error=outcome.error)
    for line, error in outcome.dead:
        log.error("event is dead: see replay_events", event_id=event_id(line), what=line.what, error=error)
    return outcome


def _send_batch(lines: Sequence[_EventLine]) -> _BatchResult:
    outcome = _BatchResult()
    verdict = (
        data_platform.send([_payload(line) for line in lines]) if lines else data_platform.DeliveryResult()
    )
    if not verdict.error:
        outcome.taken = list(lines)
    elif not verdict.is_final:
        outcome.fail(lines, verdict.error)
    else:
        _send_one_by_one(lines, outcome)
    return outcome


def _send_one_by_one(lines: Sequence[_EventLine], outcome: _BatchResult) -> None:
    """Find what is refused for good, until an attempt is in vain. What comes after it in its order waits.

    It ends in time, however slow the answers.
    """
    ends_at = time.monotonic() + PASS_SECONDS
    blocked: set[UUID] = set()
    for line in lines:
        if line.order_id in blocked or time.monotonic() > ends_at:
            continue
        verdict = data_platform.send([_payload(line)])
        if not verdict.error:
            outcome.taken.append(line)
        elif not verdict.is_final:
            outcome.fail([line], verdict.error)
            return
        else:
            outcome.refuse(line, verdict.error)
            blocked |= {line.order_id} if line.order_id else set()


def _payload(line: _EventLine) -> dict[str, Any]:
    return {
        "id": event_id(line),
        "type": line.what,
        "occurred_at": line.at,
        "data": line.after or {},
    }


def _record_result(outcome: _BatchResult) -> None:
    """Write down what became of the batch; what was not sent stays due."""
    now = clock.now()
    _rows(outcome.taken).exclude(delivery=DELIVERED).update(
        delivery=DELIVERED, delivered_at=now, next_attempt_at=None, attempts=F("attempts") + 1
    )
    outcome.has_followers = _make_followers_due(outcome.taken)
    for line, error in outcome.dead:
        JournalLine.objects.filter(pk=line.id, delivery=QUEUED).update(
            delivery=DEAD, next_attempt_at=None, attempts=F("attempts") + 1, last_error=error[:255]
        )
    for attempts, some in groupby(sorted(outcome.failed, key=_attempts), key=_attempts):
        _schedule_retry(some, attempts + 1, outcome.error)
    alike: dict[tuple[int, str, datetime], list[_EventLine]] = defaultdict(list)
    for line, error in outcome.refused:
        alike[line.attempts + 1, error, _refused_since(line, error) or now].append(line)
    for (attempts, error, since), lines in alike.items():
        _schedule_retry(lines, attempts, error, refused_at=since)


def _make_followers_due(delivered: Sequence[_EventLine]) -> bool:
    """Call what was held back behind these. Whether there was anything."""
    order_ids = {line.order_id for line in delivered if line.order_id}
    behind = JournalLine.objects.filter(order_id__in=order_ids, delivery=QUEUED)
    return bool(order_ids) and behind.update(next_attempt_at=clock.now()) > 0


def _schedule_retry(
    lines: Iterable[_EventLine], attempts: int, error: str, *, refused_at: datetime | None = None
) -> None:
    """Try again later."""
    _rows(lines).filter(delivery=QUEUED).update(
        attempts=attempts,
        last_error=error[:255],
        refused_at=refused_at,
        next_attempt_at=clock.now() + timedelta(seconds=backoff.pause_seconds(attempts)),
    )


def _refused_since(line: _EventLine, error: str) -> datetime | None:
    """Since when the line is refused with this answer's status: its text may name the request."""
    is_same = line.last_error.split()[:2] == error.split()[:2]
    return line.refused_at if is_same else None


def _is_too_old(line: _EventLine) -> bool:
    age_seconds = (clock.now() - line.at).total_seconds()
    return age_seconds > settings.EVENT_GIVE_UP_SECONDS and line.attempts + 1 >= FEWEST_ATTEMPTS


def _attempts(line: _EventLine) -> int:
    return line.attempts


def _rows(lines: Iterable[_EventLine]) -> Any:
    return JournalLine.objects.filter(id__in=[line.id for line in lines])
