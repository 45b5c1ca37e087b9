"""Replaying all events of an order by an operator's request: receivers drop duplicates by their ids."""

from uuid import UUID

from shop import clock
from shop.db import transactions
from shop.errors import Rejected
from shop.events import journal, outbox
from shop.lazy_texts import mark as _
from shop.models import JournalLine

Delivery = JournalLine.Delivery


def replay_order(*, order_id: UUID, reason: str) -> int:
    """Queue all events of the order, delivered and dead ones too, to be sent now, in sequence.

    Returns how many. Durable when it returns, unless the caller has a transaction open. A repeat sends them
    again: run it by `recorded_answers.run_once`. Raises `Rejected` `no_events`.
    """
    return transactions.run_or_savepoint(lambda: _replay(order_id, reason), transactions.ONCE)


def _replay(order_id: UUID, reason: str) -> int:
    # Looked up first and locked afterwards, so that no row is locked that may be missing.
    events = JournalLine.objects.filter(order_id=order_id).exclude(delivery="")
    ids = list(events.values_list("id", flat=True))
    if not ids:
        raise Rejected(
            _("The order has no events: they are written when it is paid, refunded or cancelled."),
            code="no_events",
        )
    lines = list(JournalLine.objects.select_for_update().filter(id__in=ids).order_by("id"))
    now = clock.now()
    JournalLine.objects.filter(id__in=ids).update(
        delivery=Delivery.QUEUED,
        attempts=0,
        next_attempt_at=now,
        delivered_at=None,
        refused_at=None,
        requeued_at=now,
    )
    for line in lines:
        journal.note(
            what="event.resent",
            subject=f"event {outbox.event_id(line)}",
            order_id=order_id,
            before=_delivery(line),
            after={"delivery": Delivery.QUEUED},
            detail=reason,
            is_internal=True,
        )
    return len(lines)


def _delivery(line: JournalLine) -> dict[str, str]:
    delivered = {"delivered_at": line.delivered_at.isoformat()} if line.delivered_at else {}
    error = {"error": line.last_error} if line.delivery == Delivery.DEAD else {}
    return {"delivery": line.delivery} | delivered | error
