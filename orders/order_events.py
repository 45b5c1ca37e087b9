"""Telling what became of an order: a line of the journal, and an event for those outside who want it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from orders.models import Order, Refund, RefundLine
from orders.order_states import LockedOrder
from shop.events import journal

Status = Order.Status
OUTGOING = (Status.PAID, Status.CANCELLED)
# That an order is paid is told by its own saga, right after; the relay makes good for one that died. Longer
# than a saga takes to come to it, and to ask twice without an answer, so that both don't tell it.
RELAY_DELAYS = {Status.PAID: timedelta(seconds=15)}


def note_status(order: Order | LockedOrder, *, status: str, at: datetime, detail: str = "") -> None:
    """Note that the order, as it was until now, has come to `status`."""
    journal.note(
        what=f"order.{status}",
        subject=f"order {order.id}",
        order_id=order.id,
        before={"status": order.status},
        after=order_facts(order) | {"status": status},
        detail=detail,
        is_outgoing=status in OUTGOING,
        at=at,
        due_at=at + RELAY_DELAYS.get(Status(status), timedelta()),
    )


def note_refund_requested(order: Order, refund: Refund, lines: Sequence[RefundLine]) -> None:
    """Note that somebody asked for the refund, and why; the order, as it was until now, is `refunding`."""
    journal.note(
        what="refund.requested",
        subject=f"refund {refund.id}",
        order_id=order.id,
        before={"status": order.status},
        after={"status": Status.REFUNDING, "refund": refund_facts(refund, lines)},
        detail=refund.reason,
        at=refund.created_at,
    )


def note_refunded(
    order: Order, refund: Refund, lines: Sequence[RefundLine], *, status: str, at: datetime
) -> None:
    """Note that the order, as it was until now, has come to `status` by this refund."""
    journal.note(
        what="order.refunded",
        subject=f"order {order.id}",
        order_id=order.id,
        before={"status": order.status, "refunded_amount": order.refunded_amount},
        after=order_facts(order)
        | {
            "status": status,
            "refunded_amount": order.refunded_amount + refund.amount,
            "refund": refund_facts(refund, lines),
        },
        detail=f"{refund.amount} given back",
        is_outgoing=True,
        at=at,
    )


def order_facts(order: Order | LockedOrder) -> dict[str, Any]:
    """What an event tells of the order. Amounts are in minor units."""
    return {
        "order": str(order.id),
        "account": order.account_id,
        "total_amount": order.total_amount,
        "points_amount": order.points_amount,
        "card_amount": order.card_amount,
        "currency": order.currency,
    }


def refund_facts(refund: Refund, lines: Sequence[RefundLine]) -> dict[str, Any]:
    """What an event tells of a refund. Amounts are in minor units."""
    return {
        "id": str(refund.id),
        "amount": refund.amount,
        "points_amount": refund.points_amount,
        "card_amount": refund.card_amount,
        "reason": refund.reason,
        "restock": refund.restock,
        "items": [
            {"product": one.line.product_id, "quantity": one.quantity, "amount": one.amount} for one in lines
        ],
    }
