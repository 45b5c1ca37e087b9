"""Queueing events for delivery once more, each with a line of the journal that says why."""

from collections.abc import Collection, Sequence

from shop import clock
from shop.db import transactions
from shop.events import journal
from shop.models import JournalLine

Delivery = JournalLine.Delivery


def resend(line_ids: Collection[int], *, reason: str) -> list[JournalLine]:
    """Send these events again at once, delivered and dead ones too; returns those that there are."""

    def work() -> list[JournalLine]:
        # Looked up first and locked afterwards, so that no row is locked that may be missing.
        found = JournalLine.objects.filter(id__in=line_ids).exclude(delivery="").values_list("id", flat=True)
        lines = list(JournalLine.objects.select_for_update().filter(id__in=list(found)).order_by("id"))
        requeue(lines, what="event.resent", reason=reason)
        return list(JournalLine.objects.filter(id__in=[line.pk for line in lines]).order_by("id"))

    return transactions.run_or_savepoint(work, transactions.ONCE)


def requeue(lines: Sequence[JournalLine], *, what: str, reason: str) -> None:
    """Make these locked events due at once, as if they were new; `what` is that of the journal's lines."""
    now = clock.now()
    JournalLine.objects.filter(id__in=[line.pk for line in lines]).update(
        delivery=Delivery.QUEUED,
        attempts=0,
        next_attempt_at=now,
        delivered_at=None,
        refused_at=None,
        requeued_at=now,
    )
    for line in lines:
        journal.note(
            what=what,
            subject=f"event {line.event_id}",
            order_id=line.order_id,
            before=_delivery(line),
            after={"delivery": Delivery.QUEUED},
            detail=reason,
            is_internal=True,
        )


def _delivery(line: JournalLine) -> dict[str, str]:
    delivered = {"delivered_at": line.delivered_at.isoformat()} if line.delivered_at else {}
    error = {"error": line.last_error} if line.delivery == Delivery.DEAD else {}
    return {"delivery": line.delivery} | delivered | error
