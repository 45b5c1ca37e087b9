"""Telling what became of an order: a line of the journal, and an event for those outside who want it."""

from datetime import datetime
from typing import Any

from orders.models import Order
from shop import journal

Status = Order.Status
OUTGOING = (Status.PAID, Status.CANCELLED)


def note(order: Order, *, status: str, at: datetime, detail: str = "") -> None:
    """Note that the order, as it was until now, has come to `status`."""
    journal.note(
        what=f"order.{status}",
        subject=f"order {order.id}",
        order_id=order.id,
        before={"status": order.status},
        after=facts(order) | {"status": status},
        detail=detail,
        is_outgoing=status in OUTGOING,
        at=at,
    )


def facts(order: Order) -> dict[str, Any]:
    """What an event tells of the order. Amounts are in minor units."""
    return {
        "order": str(order.id),
        "account": order.account_id,
        "total_amount": order.total_amount,
        "points_amount": order.points_amount,
        "card_amount": order.card_amount,
        "currency": order.currency,
    }
