"""Replaying all events of an order by an operator's request: receivers drop duplicates by their ids."""

from datetime import UTC, datetime
from uuid import UUID

from shop.db import archived_months, transactions
from shop.errors import Rejected
from shop.events import requeuing
from shop.lazy_texts import mark as _
from shop.models import JournalLine

REFUNDED = "order.refunded"


def replay_order(*, order_id: UUID, reason: str, settled_refunds: int) -> int:
    """Queue all events of the order, delivered and dead ones too, to be sent now, in sequence; returns how
    many.

    `settled_refunds` says how many refunds are settled: each has an event. A repeat sends them again: run it
    by `recorded_answers.run_once`. Raises `Rejected` `no_events`, or `events_archived`.
    """

    def work() -> int:
        lines = _lock_events(order_id, settled_refunds)
        if not lines:
            text = _("The order has no events: they are written when it is paid, refunded or cancelled.")
            raise Rejected(text, code="no_events")
        requeuing.requeue(lines, what="event.resent", reason=reason)
        return len(lines)

    return transactions.run_or_savepoint(work, transactions.ONCE)


def _lock_events(order_id: UUID, settled_refunds: int) -> list[JournalLine]:
    """All events of the order, locked. Raises `Rejected` `events_archived`."""
    # Looked up first and locked afterwards, so that no row is locked that may be missing.
    events = JournalLine.objects.filter(order_id=order_id).exclude(delivery="")
    kinds = dict(events.values_list("id", "what"))
    refunds = sum(what == REFUNDED for what in kinds.values())
    _require_not_archived(order_id, may_lack=not kinds or refunds < settled_refunds)
    lines = list(JournalLine.objects.select_for_update().filter(id__in=kinds).order_by("id"))
    # An archiving has deleted some in between: the next look finds that.
    return lines if len(lines) == len(kinds) else _lock_events(order_id, settled_refunds)


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
