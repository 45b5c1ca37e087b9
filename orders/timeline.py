"""What happened to an order, oldest first: for its owner every step, for staff every attempt too."""

from dataclasses import dataclass
from datetime import datetime

from orders.models import Order, Saga, SagaLog
from orders.steps import UNDO, Event

WORDS = {
    Event.DONE: "done",
    Event.SKIPPED: "skipped",
    Event.REFUSED: "refused",
    Event.VOID: "void",
    Event.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Happening:
    """One line: when, what, and more about it."""

    at: datetime
    event: str
    detail: str


def of(order: Order, *, for_staff: bool) -> list[Happening]:
    """The order's placing, every step and compensation of its payments, and its end.

    Staff also see the attempts in vain and the gateway's references.
    """
    payments = order.payments.values_list("id", flat=True)
    sagas = Saga.objects.filter(subject_id__in=list(payments))
    log = SagaLog.objects.filter(saga__in=sagas).order_by("at", "id")
    if not for_staff:
        log = log.filter(attempt=0)
    happenings = [Happening(order.placed_at, "order.placed", "")]
    happenings += [_told(line, for_staff) for line in log]
    if order.ended_at:
        happenings.append(Happening(order.ended_at, f"order.{order.status}", order.failure_detail))
    return sorted(happenings, key=lambda happening: happening.at)


def _told(line: SagaLog, for_staff: bool) -> Happening:
    """Such as `charge_card.done`, or `charge_card.undo.done` on the way back."""
    way = ".undo" if line.direction == UNDO else ""
    detail = line.detail
    if for_staff and line.reference:
        detail = f"{detail} ({line.reference})".strip()
    return Happening(line.at, f"{line.step}{way}.{WORDS[Event(line.event)]}", detail)
