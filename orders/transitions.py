"""The states of an order and the ways between them: one table, each way a guarded update."""

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from orders.models import Order

Status = Order.Status

TRANSITIONS: dict[str, frozenset[str]] = {
    Status.AWAITING_PAYMENT: frozenset({Status.PAYING, Status.CANCELLED, Status.EXPIRED}),
    Status.PAYING: frozenset({Status.PAID, Status.PAYMENT_FAILED}),
    Status.PAID: frozenset({Status.REFUNDING}),
    Status.REFUNDING: frozenset({Status.PAID, Status.REFUNDED}),
    Status.REFUNDED: frozenset(),
    Status.PAYMENT_FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.EXPIRED: frozenset(),
}
# Open orders hold stock and coupon, and once they are being paid their points.
OPEN = (Status.AWAITING_PAYMENT, Status.PAYING)
PAID = (Status.PAID, Status.REFUNDING, Status.REFUNDED)
# Ended unpaid: they hold nothing any more.
ENDED = (Status.PAYMENT_FAILED, Status.CANCELLED, Status.EXPIRED)


def move(order_ids: Collection[UUID], *, to: str, **fields: Any) -> int:
    """Move the orders that may go to `to`, setting `fields` with it. Returns how many moved."""
    sources = [status for status, targets in TRANSITIONS.items() if to in targets]
    return Order.objects.filter(id__in=order_ids, status__in=sources).update(status=to, **fields)


def lock(order_ids: Iterable[UUID]) -> None:
    """Lock these orders, in the order of their ids, until the transaction ends."""
    # Looked up first: a subquery in a locking read would lock what it reads as well.
    rows = Order.objects.select_for_update().filter(id__in=list(order_ids)).order_by("id")
    list(rows.values_list("id", flat=True))
