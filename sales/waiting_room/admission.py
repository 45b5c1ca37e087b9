"""Admits waiting entries in the order of their places, expires admitted ones, and ends those of closed sales,
all under the sale's lock. In any 60 seconds at most `rate_per_minute` are admitted, counted in the table
itself.

The instants of admissions never go back: a sale keeps by how much its clock of admissions is ahead of the
database's, which a failover may have set back.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from foundation import clock
from foundation.db import compiled, open_transaction, transactions
from foundation.db.rows import save_changes
from foundation.redis import completion_notifications
from inventory import sale_terms
from sales import terms
from sales.models import Sale, SaleEntry
from sales.waiting_room import draw

Status = SaleEntry.Status
WINDOW = timedelta(seconds=60)
# Admissions are spread evenly over the minute. Those of so many seconds at most are made up for at once: at
# first, after a late tick, and when none could be admitted.
PACE_WINDOW = timedelta(seconds=2)
# Entries that one transaction ends: their rows are locked until it commits. Another one follows.
ENDED_AT_ONCE = 5_000
# So long after the last admission a process waits for the lock, which those that join hold most of the time.
PATIENT_AFTER = timedelta(seconds=1)
# By how much the clocks of two processes may differ, and a correction of one may take it back.
LARGEST_STEP = timedelta(seconds=2)


def advance(sale_id: int) -> int:
    """Do what is due for this sale now, unless another process is doing it. Returns how many entries changed.
    Durable when it returns, and safe to repeat.
    """
    changed = set[UUID]()
    count = 0

    def work() -> Sale | None:
        sale, entry_ids = _advance(sale_id)
        # Also of an attempt whose reply was lost, because the repeat then finds nothing due.
        changed.update(entry_ids)
        return sale

    while True:
        sale = transactions.run(work, transactions.REPEATABLE)
        if changed:
            completion_notifications.notify_completed(*map(str, changed))
        number = len(changed)
        count += number
        changed.clear()
        if sale and draw.claim(sale, clock.now()):
            draw.start_ordering(sale)
        elif number < ENDED_AT_ONCE:
            return count


def advance_all() -> int:
    """`advance` every sale for which something is due. Returns how many entries changed."""
    return advance_each(pk for [pk] in compiled.rows(_find_due, at=clock.now()))


def _find_due(now: datetime) -> "QuerySet[Sale, tuple[int]]":
    """The sales to draw or to end, with entries to admit or expire, or an admission ahead of the clock."""
    overdue = SaleEntry.objects.filter(sale=OuterRef("pk"), status=Status.ADMITTED, admitted_until__lte=now)
    is_due = Q(is_ordered=False) | Q(closes_at__lte=now) | Q(last_position__gt=F("passed_position"))
    is_due |= Exists(overdue) | Q(last_admitted_at__gt=now)
    return Sale.objects.filter(is_due, ended_at=None, opens_at__lte=now).order_by("pk").values_list("pk")


def advance_each(sale_ids: Iterable[int]) -> int:
    """`advance` each of these sales; returns how many entries changed. A sale that fails does not delay the
    others: its error is raised last.
    """
    count = 0
    failure = None
    for sale_id in sale_ids:
        try:
            count += advance(sale_id)
        except Exception as error:
            failure = failure or error
            connection.close_if_unusable_or_obsolete()
    if failure is not None:
        raise failure
    return count


def _advance(sale_id: int) -> tuple[Sale | None, Sequence[UUID]]:
    """Returns the sale, unless it has ended or another process advances it, and the entries that changed."""
    sale = _lock(sale_id)
    if sale is None:
        return None, ()
    # After the lock was granted, and by the database: the instants of two processes that advance the sale one
    # after the other are then in that order, however long one waited, and whatever their clocks show.
    now = clock.read_database()
    if draw.is_due(sale, now):
        draw.close(sale, now)
    if not sale.is_ordered:
        return sale, ()
    if now >= sale.closes_at:
        return sale, _end(sale, now)
    if sale.paused_at is not None or not sale.is_queued:
        return sale, ()
    # Also while nothing is admitted: orders are compared with it.
    admission_time = _admission_time(sale, now)
    overdue = sale.entries.filter(status=Status.ADMITTED, admitted_until__lte=now)
    expired = _settle(overdue, Status.EXPIRED, expected=Status.ADMITTED)
    levels = sale_terms.read_levels(terms.product_ids_of(sale_id))
    if not levels.on_hand:
        return sale, [*expired, *_end_waiting(sale)]
    admitted = _admit(sale, now, admission_time) if levels.available > 0 else ()
    return sale, [*expired, *admitted]


def _lock(sale_id: int) -> Sale | None:
    """The sale, locked, unless it has ended; None as well if another process holds it and is in time, or
    closes its draw, which takes as long as the ids of all entries.
    """
    unended = Sale.objects.filter(pk=sale_id, ended_at=None)
    if sale := unended.select_for_update(skip_locked=True).first():
        return sale
    seen = unended.first()
    if seen is None:
        return None
    last = seen.last_admitted_at
    is_late = last is None or clock.now() + seen.admission_clock_ahead - last > PATIENT_AFTER
    is_late = is_late and seen.is_ordered
    return unended.select_for_update().first() if is_late else None


def _admission_time(sale: Sale, now: datetime) -> datetime:
    """This instant by the sale's clock of admissions, which never goes back."""
    at = now + sale.admission_clock_ahead
    last = sale.last_admitted_at
    if last is None or at >= last:
        return at
    if last - at > LARGEST_STEP:
        sale.admission_clock_ahead += last - at
        sale.save(update_fields=["admission_clock_ahead"])
    return last


def _admit(sale: Sale, clock_now: datetime, now: datetime) -> Sequence[UUID]:
    """Admit as many waiting entries as the rate allows, in the order of their places; `now` is by the sale's
    clock of admissions.
    """
    open_transaction.assert_inside()
    in_window = sale.entries.filter(admitted_at__gte=now - WINDOW).count()
    number = min(sale.rate_per_minute - in_window, sale.last_position - sale.passed_position)
    interval = WINDOW // sale.rate_per_minute
    next_at = _next_admission(sale, now, interval)
    number = min(number, (now - next_at) // interval + 1)
    if number <= 0:
        return ()
    first = sale.passed_position + 1
    last = sale.passed_position + number
    chosen = sale.entries.filter(position__range=(first, last), status=Status.WAITING)
    entry_ids = list(chosen.values_list("id", flat=True))
    chosen.update(
        status=Status.ADMITTED,
        admitted_at=now,
        admitted_until=clock_now + timedelta(seconds=sale.admitted_for_seconds),
        rate_per_minute=sale.rate_per_minute,
    )
    next_at += number * interval
    save_changes(sale, passed_position=last, last_admitted_at=now, next_admission_at=next_at)
    return entry_ids


def _next_admission(sale: Sale, now: datetime, interval: timedelta) -> datetime:
    """When the next admission is due, one each `interval`: the generic cell rate algorithm (ITU-T I.371)."""
    if sale.next_admission_at is None or sale.last_admitted_at is None:
        return now - max(PACE_WINDOW - interval, timedelta(0))
    # The rate may have been raised since.
    next_at = min(sale.next_admission_at, sale.last_admitted_at + interval)
    return max(next_at, now - PACE_WINDOW)


def _end(sale: Sale, now: datetime) -> Sequence[UUID]:
    """End what waits and what is admitted, because the sale has closed; the last chunk ends the sale."""
    left = sale.entries.filter(status__in=(Status.WAITING, Status.ADMITTED))
    ended: list[UUID] = []
    for status in (Status.WAITING, Status.ADMITTED):
        ended += _settle(left.filter(status=status), Status.OVER, expected=status)
    if not left.exists():
        save_changes(sale, passed_position=sale.last_position, ended_at=now)
    return ended


def _end_waiting(sale: Sale) -> Sequence[UUID]:
    """End entries that wait while nothing is on hand, in the order of their places."""
    last = min(sale.last_position, sale.passed_position + ENDED_AT_ONCE)
    if last == sale.passed_position:
        return ()
    waiting = sale.entries.filter(status=Status.WAITING, position__lte=last)
    ended = _settle(waiting, Status.OVER, expected=Status.WAITING)
    save_changes(sale, passed_position=last)
    return ended


def _settle(entries: "QuerySet[SaleEntry]", status: Status, *, expected: Status) -> list[UUID]:
    """Give these entries their last status, unless an order has used one meanwhile; at most a chunk."""
    entry_ids = list(entries.order_by("position").values_list("id", flat=True)[:ENDED_AT_ONCE])
    if entry_ids:
        SaleEntry.objects.filter(pk__in=entry_ids, status=expected).update(status=status)
    return entry_ids
