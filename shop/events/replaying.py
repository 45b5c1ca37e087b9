"""Queueing events for delivery once more by an operator's request, noted in the journal: dead ones, any
others, or all of an order. Receivers drop duplicates by their ids.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from django.db.models import Count, QuerySet

from shop import clock
from shop.db import archived_months, transactions
from shop.errors import Rejected
from shop.events import journal
from shop.lazy_texts import mark as _
from shop.models import JournalLine

QUEUED, DEAD = JournalLine.Delivery.QUEUED, JournalLine.Delivery.DEAD
REPLAY_BATCH_SIZE = 1_000
MOST_REPLAYED = 10_000
"""By one call of `replay_matching`: a page must be answered soon. A repeat continues with the rest."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Chooses dead events by type, or the beginning of one (`order.`), by when they happened, by order."""

    what: str = ""
    since: datetime | None = None
    before: datetime | None = None
    order_id: UUID | None = None

    def lines(self) -> "QuerySet[JournalLine]":
        """The dead events that match, oldest first; found by the index on deliveries."""
        type_is = "what__startswith" if self.what.endswith(".") else "what"
        wanted = {type_is: self.what, "at__gte": self.since, "at__lt": self.before, "order_id": self.order_id}
        given = {name: value for name, value in wanted.items() if value}
        return JournalLine.objects.filter(delivery=DEAD, next_attempt_at=None, **given).order_by("id")


def dead_count() -> int:
    return JournalLine.objects.filter(delivery=DEAD).count()


def counts_by_type(matching: EventFilter) -> dict[str, int]:
    """How many dead events of each type match."""
    return dict(sorted(matching.lines().order_by().values_list("what").annotate(number=Count("pk"))))


def replay(ids: Collection[int], *, reason: str = "") -> list[int]:
    """Queue these dead events for delivery at once; returns the ids of those that were dead."""
    return [id for batch in _replay_batches(ids, reason) for id in batch]


def replay_matching(matching: EventFilter, *, reason: str) -> Iterator[int]:
    """Queue the oldest `MOST_REPLAYED` dead events that match; yields how many, batch by batch."""
    ids = matching.lines().values_list("id", flat=True)[:MOST_REPLAYED]
    yield from map(len, _replay_batches(list(ids), reason))


def resend(ids: Collection[int], *, reason: str) -> list[JournalLine]:
    """Send these events again at once, delivered and dead ones too; returns those that there are."""

    def work() -> list[JournalLine]:
        lines = _lock(JournalLine.objects.filter(id__in=ids).exclude(delivery=""))
        _requeue(lines, what="event.resent", reason=reason)
        return list(JournalLine.objects.filter(id__in=[line.pk for line in lines]).order_by("id"))

    return transactions.run_or_savepoint(work, transactions.ONCE)


def replay_order(*, order_id: UUID, reason: str, settled_refunds: int) -> int:
    """Send all events of the order again at once, in sequence; returns how many.

    `settled_refunds` says how many refunds are settled: each has an event. A repeat sends them again: run it
    by `recorded_answers.run_once`. Raises `Rejected` `no_events`, or `events_archived`.
    """

    def work() -> int:
        lines = _lock_order(order_id, settled_refunds)
        if not lines:
            text = _("The order has no events: they are written when it is paid, refunded or cancelled.")
            raise Rejected(text, code="no_events")
        _requeue(lines, what="event.resent", reason=reason)
        return len(lines)

    return transactions.run_or_savepoint(work, transactions.ONCE)


def _replay_batches(ids: Collection[int], reason: str) -> Iterator[list[int]]:
    """Replay in transactions of `REPLAY_BATCH_SIZE`; yields the ids that each has queued."""
    wanted = sorted(ids)
    for start in range(0, len(wanted), REPLAY_BATCH_SIZE):
        batch = wanted[start : start + REPLAY_BATCH_SIZE]
        yield transactions.run(partial(_replay_batch, batch, reason), transactions.ONCE)


def _replay_batch(ids: Collection[int], reason: str) -> list[int]:
    lines = _lock(JournalLine.objects.filter(id__in=ids, delivery=DEAD))
    dead = [line for line in lines if line.delivery == DEAD]
    _requeue(dead, what="event.replayed", reason=reason)
    return [line.pk for line in dead]


def _lock(lines: "QuerySet[JournalLine]") -> list[JournalLine]:
    """Lock these lines. They are looked up first, so that no row is locked that may be missing."""
    ids = list(lines.values_list("id", flat=True))
    return list(JournalLine.objects.select_for_update().filter(id__in=ids).order_by("id"))


def _lock_order(order_id: UUID, settled_refunds: int) -> list[JournalLine]:
    """All events of the order, locked. Raises `Rejected` `events_archived`."""
    kinds = dict(JournalLine.objects.filter(order_id=order_id).exclude(delivery="").values_list("id", "what"))
    refunds = sum(what == "order.refunded" for what in kinds.values())
    _require_not_archived(order_id, may_lack=not kinds or refunds < settled_refunds)
    lines = _lock(JournalLine.objects.filter(id__in=kinds))
    # An archiving has deleted some in between: the next look finds that.
    return lines if len(lines) == len(kinds) else _lock_order(order_id, settled_refunds)


def _require_not_archived(order_id: UUID, *, may_lack: bool) -> None:
    """Raise `Rejected` if the order's first event is in a file, or if events are missing that may be."""
    paid = archived_months.month_of_paid_event(order_id)
    months = [paid] if paid else []
    if may_lack and not months:
        # The key begins with the milliseconds at which the order was placed.
        placed_at = datetime.fromtimestamp((order_id.int >> 80) // 1000, UTC)
        months = archived_months.read_since(archived_months.JOURNAL, placed_at)
    if months:
        files = ", ".join(month.file for month in months)
        raise Rejected(
            _("Events of the order may be archived in {files}: restore the month first.", files=files),
            code="events_archived",
            file=months[0].file,
        )


def _requeue(lines: Sequence[JournalLine], *, what: str, reason: str) -> None:
    """Make these locked events due at once, as if they were new; `what` is that of the journal's lines."""
    now = clock.now()
    JournalLine.objects.filter(id__in=[line.pk for line in lines]).update(
        delivery=QUEUED, attempts=0, next_attempt_at=now, delivered_at=None, refused_at=None, requeued_at=now
    )
    for line in lines:
        delivered = {"delivered_at": line.delivered_at.isoformat()} if line.delivered_at else {}
        error = {"error": line.last_error} if line.delivery == DEAD else {}
        journal.note(
            what=what,
            subject=f"event {line.event_id}",
            order_id=line.order_id,
            before={"delivery": line.delivery} | delivered | error,
            after={"delivery": QUEUED},
            detail=reason,
            is_internal=True,
        )
