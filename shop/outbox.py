"""The outbox: the journal's outgoing lines are events, delivered to the data platform.

Each at least once, and an order's in their order: an event goes only when all earlier ones of its order
are delivered, or go before it in the same batch. A dead one holds back those after it until it is
replayed. The receiver drops by its id what comes again, so two relays at once are wasteful, never wrong;
a claim (`next_attempt_at`, pushed ahead) keeps the waste small.
"""

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import groupby
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, Min
from django.utils import timezone
from structlog import get_logger

from shop import backoff, data_platform, transactions
from shop.data_platform import MOST_EVENTS
from shop.models import JournalLine

log = get_logger(__name__)

QUEUED, DELIVERED, DEAD = (
    JournalLine.Delivery.QUEUED,
    JournalLine.Delivery.DELIVERED,
    JournalLine.Delivery.DEAD,
)
# What an event gets however old it is: it may have been held back, or replayed.
FEWEST_ATTEMPTS = 5
# A relay that died costs its batch this long; a batch takes two calls of 3 s unless one in it is refused.
CLAIM_SECONDS = 15
PASS_SECONDS = 10
# A batch of a single order takes this long.
CALL = timedelta(seconds=2 * data_platform.SECONDS)

# One relay is enough for a process: while the data platform is slow, the others' threads have work to do.
_relaying = threading.Lock()


@dataclass(slots=True)
class _Outcome:
    """What became of a batch, line by line. What is in none of these was not sent.

    `is_in_vain` when the data platform is away, or fails. `has_woken` when others waited for these.
    """

    taken: list[JournalLine] = field(default_factory=list)
    failed: list[JournalLine] = field(default_factory=list)
    dead: list[tuple[JournalLine, str]] = field(default_factory=list)
    error: str = ""
    is_in_vain: bool = False
    has_woken: bool = False

    def fail(self, lines: Iterable[JournalLine], error: str) -> None:
        """These were sent in vain; for those that are too old it was the last time."""
        self.error, self.is_in_vain = error, True
        for line in lines:
            if _is_late(line):
                self.dead.append((line, f"given up: {error}"))
            else:
                self.failed.append(line)


def event_id(pk: int) -> str:
    """What an event is called outside."""
    return f"evt_{pk}"


def deliver_due() -> int:
    """Deliver the events whose time has come, batch by batch while there are any. Returns how many.

    The first batch in vain ends it: the data platform is away, and asked again in a while.
    """
    if not _relaying.acquire(blocking=False):
        return 0
    try:
        return _relay()
    finally:
        _relaying.release()


def deliver(order_id: UUID) -> str:
    """Deliver the order's queued events, due or not. Returns "" when none is left, else what is wrong."""
    return deliver_all([order_id]).get(order_id, "")


def deliver_all(order_ids: Collection[UUID]) -> dict[UUID, str]:
    """The same for many orders, in batches. Returns what is wrong by order, nothing for those delivered."""
    errors: dict[UUID, str] = {}
    while lines := _open_lines(set(order_ids) - errors.keys()):
        ready = _ready(lines, errors)
        if any(map(_may_be_taken, ready)):
            transactions.run(partial(_claim, ready))
        outcome = _push(ready) if ready else _Outcome()
        sent_in_vain = [*outcome.failed, *(line for line, _ in outcome.dead)]
        taken = {line.pk for line in outcome.taken}
        held_up = [line for line in ready if line.pk not in taken] if outcome.is_in_vain else sent_in_vain
        errors |= {line.order_id: outcome.error for line in held_up if line.order_id}
    return errors


def _ready(lines: Sequence[JournalLine], errors: dict[UUID, str]) -> list[JournalLine]:
    """Those that no dead line of their order holds back; an order that begins with one is in `errors`."""
    dead: set[UUID | None] = set()
    ready: dict[int, JournalLine] = {}
    begun: set[UUID | None] = set()
    for line in lines:
        if line.delivery == DEAD:
            dead.add(line.order_id)
            if line.order_id and line.order_id not in begun:
                errors[line.order_id] = f"{event_id(line.pk)} is dead: {line.last_error}"
        elif line.order_id not in dead:
            ready[line.pk] = line
        begun.add(line.order_id)
    return list(ready.values())


def queued_count() -> int:
    return JournalLine.objects.filter(delivery=QUEUED).count()


def oldest_age_seconds() -> float:
    """How long the oldest queued event has waited; 0 when none waits."""
    oldest = JournalLine.objects.filter(delivery=QUEUED).aggregate(id=Min("id"))["id"]
    line = JournalLine.objects.filter(id=oldest).first()
    return max(0.0, (timezone.now() - line.at).total_seconds()) if line else 0.0


def _relay() -> int:
    delivered, ends_at = 0, time.monotonic() + PASS_SECONDS
    while time.monotonic() < ends_at and (lines := transactions.run(_claim_due)):
        ready = _whose_turn_it_is(lines)
        outcome = _push(ready) if ready else _Outcome()
        delivered += len(outcome.taken)
        # What comes while the last batch goes waits for the next pass, to share a batch with others.
        is_last = len(lines) < MOST_EVENTS and not outcome.has_woken
        if outcome.is_in_vain or is_last:
            break
    return delivered


def _claim_due() -> list[JournalLine]:
    """A batch that is due and that no other relay has, oldest first."""
    due = JournalLine.objects.filter(delivery=QUEUED, next_attempt_at__lte=timezone.now())
    lines = list(due.select_for_update(skip_locked=True).order_by("next_attempt_at", "id")[:MOST_EVENTS])
    _claim(lines)
    return sorted(lines, key=lambda line: line.pk)


def _claim(lines: Sequence[JournalLine]) -> None:
    until = timezone.now() + timedelta(seconds=CLAIM_SECONDS)
    _rows(lines).update(next_attempt_at=until)
    for line in lines:
        line.next_attempt_at = until


def _whose_turn_it_is(lines: Sequence[JournalLine]) -> list[JournalLine]:
    """Those with no earlier open line of their order but in this batch; the others are put off.

    They are called again as soon as the earlier ones are delivered (`_wake`).
    """
    mine = {line.pk for line in lines}
    blocked: set[UUID | None] = set()
    waiting: set[int] = set()
    order_ids = {line.order_id for line in lines if line.order_id}
    unsent = JournalLine.objects.filter(order_id__in=order_ids, delivery__in=(QUEUED, DEAD))
    for id, order_id in unsent.order_by("id").values_list("id", "order_id"):
        if id not in mine:
            blocked.add(order_id)
        elif order_id in blocked:
            waiting.add(id)
    if waiting:
        # Not those that were called while we looked: their claim is another by now.
        later = timezone.now() + timedelta(seconds=backoff.LONGEST_SECONDS)
        claimed = JournalLine.objects.filter(id__in=waiting, next_attempt_at=lines[0].next_attempt_at)
        transactions.run(partial(claimed.update, next_attempt_at=later))
    return [line for line in lines if line.pk not in waiting]


def _may_be_taken(line: JournalLine) -> bool:
    """Whether the relay may take it up while it is being sent."""
    return line.next_attempt_at is None or line.next_attempt_at <= timezone.now() + CALL


def _open_lines(order_ids: Collection[UUID]) -> list[JournalLine]:
    unsent = JournalLine.objects.filter(order_id__in=order_ids, delivery__in=(QUEUED, DEAD))
    return list(unsent.order_by("id")[:MOST_EVENTS])


def _push(lines: Sequence[JournalLine]) -> _Outcome:
    """Send the batch, one by one if something in it is refused, and write down what became of it."""
    verdict = data_platform.send([_event(line) for line in lines])
    outcome = _Outcome()
    if not verdict.error:
        outcome.taken = list(lines)
    elif not verdict.is_final:
        outcome.fail(lines, verdict.error)
    else:
        outcome = _push_one_by_one(lines)
    transactions.run(partial(_record, lines, outcome))
    for line, error in outcome.dead:
        log.error("event is dead: see replay_events", event_id=event_id(line.pk), what=line.what, error=error)
    return outcome


def _push_one_by_one(lines: Sequence[JournalLine]) -> _Outcome:
    """Find what is refused for good, until an attempt is in vain. What comes after it in its order waits.

    Ends while the claim lasts, however slow the answers.
    """
    outcome, ends_at = _Outcome(), time.monotonic() + PASS_SECONDS
    blocked: set[UUID] = set()
    for line in lines:
        if line.order_id in blocked or time.monotonic() > ends_at:
            continue
        verdict = data_platform.send([_event(line)])
        if not verdict.error:
            outcome.taken.append(line)
        elif not verdict.is_final:
            outcome.fail([line], verdict.error)
            return outcome
        else:
            outcome.error = verdict.error
            outcome.dead.append((line, verdict.error))
            blocked |= {line.order_id} if line.order_id else set()
    return outcome


def _event(line: JournalLine) -> dict[str, Any]:
    return {
        "id": event_id(line.pk),
        "type": line.what,
        "occurred_at": line.at,
        "data": line.after or {},
    }


def _record(lines: Sequence[JournalLine], outcome: _Outcome) -> None:
    """Write down what became of the batch; what was not sent is due again at once."""
    now = timezone.now()
    _rows(outcome.taken).exclude(delivery=DELIVERED).update(
        delivery=DELIVERED, delivered_at=now, next_attempt_at=None, attempts=F("attempts") + 1
    )
    outcome.has_woken = _wake(outcome.taken)
    for line, error in outcome.dead:
        JournalLine.objects.filter(pk=line.pk, delivery=QUEUED).update(
            delivery=DEAD, next_attempt_at=None, attempts=F("attempts") + 1, last_error=error[:255]
        )
    for attempts, some in groupby(sorted(outcome.failed, key=_attempts), key=_attempts):
        _postpone(some, attempts + 1, outcome.error)
    sent = {line.pk for line in [*outcome.taken, *outcome.failed, *(line for line, _ in outcome.dead)]}
    unsent = _rows(line for line in lines if line.pk not in sent)
    unsent.filter(delivery=QUEUED).update(next_attempt_at=now)


def _wake(delivered: Sequence[JournalLine]) -> bool:
    """Call what was held back behind these. Whether there was anything."""
    order_ids = {line.order_id for line in delivered if line.order_id}
    behind = JournalLine.objects.filter(order_id__in=order_ids, delivery=QUEUED)
    return bool(order_ids) and behind.update(next_attempt_at=timezone.now()) > 0


def _postpone(lines: Iterable[JournalLine], attempts: int, error: str) -> None:
    """Try again later."""
    _rows(lines).filter(delivery=QUEUED).update(
        attempts=attempts,
        last_error=error[:255],
        next_attempt_at=timezone.now() + timedelta(seconds=backoff.pause_seconds(attempts)),
    )


def _is_late(line: JournalLine) -> bool:
    age_seconds = (timezone.now() - line.at).total_seconds()
    return age_seconds > settings.EVENT_GIVE_UP_SECONDS and line.attempts + 1 >= FEWEST_ATTEMPTS


def _attempts(line: JournalLine) -> int:
    return line.attempts


def _rows(lines: Iterable[JournalLine]) -> Any:
    return JournalLine.objects.filter(id__in=[line.pk for line in lines])
