"""Advances waiting rooms: admits waiting entries in the order of their places, expires admitted ones, and
ends those of closed sales, all under the sale's lock.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from foundation import clock
from foundation.db import compiled, open_transaction, transactions
from foundation.db.rows import save_changes
from foundation.redis import completion_notifications
from inventory import sale_terms
from sales import terms
from sales.models import Sale
from sales.waiting_room import admission, draw, rows


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
        elif number < admission.ENDED_AT_ONCE:
            return count


def advance_all() -> int:
    """`advance` every sale for which something is due. Returns how many entries changed."""
    return advance_each(pk for [pk] in compiled.rows(rows.find_due, at=clock.now()))


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
    sale = rows.lock_to_advance(sale_id, clock.now())
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
        return sale, rows.end(sale, now)
    if sale.paused_at is not None or not sale.is_queued:
        return sale, ()
    # Also while nothing is admitted: orders are compared with it.
    admission_time, ahead = admission.read_clock(sale.state, now)
    if ahead != sale.admission_clock_ahead:
        save_changes(sale, admission_clock_ahead=ahead)
    expired = rows.expire(sale, now)
    levels = sale_terms.read_levels(terms.product_ids_of(sale_id))
    if not levels.on_hand:
        return sale, [*expired, *rows.end_waiting(sale, admission.last_to_end(sale.state))]
    admitted = _admit(sale, now, admission_time) if levels.available > 0 else ()
    return sale, [*expired, *admitted]


def _admit(sale: Sale, clock_now: datetime, now: datetime) -> Sequence[UUID]:
    """Admit as many waiting entries as the rate allows, in the order of their places; `now` is by the sale's
    clock of admissions.
    """
    open_transaction.assert_inside()
    in_window = sale.entries.filter(admitted_at__gte=now - admission.WINDOW).count()
    decided = admission.decide(sale.state, now, admitted_in_window=in_window)
    if decided is None:
        return ()
    return rows.admit(sale, decided, at=now, until=clock_now + timedelta(seconds=sale.admitted_for_seconds))
