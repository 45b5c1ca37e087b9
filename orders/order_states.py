"""The statuses of an order and the transitions between them: one table, each transition a guarded update."""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple
from uuid import UUID

from orders.models import Order
from shop.db import bulk_sql, open_transaction

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
# Open orders hold stock and a coupon, and points while they are being paid.
OPEN = (Status.AWAITING_PAYMENT, Status.PAYING)
PAID = (Status.PAID, Status.REFUNDING, Status.REFUNDED)
# Ended unpaid: these hold nothing.
ENDED = (Status.PAYMENT_FAILED, Status.CANCELLED, Status.EXPIRED)


def transition(order_ids: Collection[UUID], *, to: str, **fields: Any) -> int:
    """Change the orders whose status allows it to status `to`, and set `fields`. Returns how many changed."""
    sources = [str(status) for status, targets in TRANSITIONS.items() if to in targets]
    if not (order_ids and sources):
        return 0
    cells = bulk_sql.SqlLiterals()
    return bulk_sql.update(
        Order,
        {"status": str(to), **fields},
        condition=f"id IN ({cells.listed(order_ids)}) AND status IN ({cells.listed(sources)})",
        cells=cells,
    )


class LockedOrder(NamedTuple):
    """The columns of a locked order that its sagas need."""

    id: UUID
    account_id: int
    status: str
    points_amount: int
    card_amount: int
    total_amount: int
    refunded_amount: int
    currency: str
    coupon_code: str


def lock(order_ids: Iterable[UUID], *, skip_locked: bool = False) -> dict[UUID, LockedOrder]:
    """Lock these orders in the order of their ids until the transaction ends; returns them by id.

    With `skip_locked`, orders that another transaction has locked are left out.
    """
    open_transaction.assert_inside()
    for_update = bulk_sql.for_update(skip_locked=skip_locked)
    found = bulk_sql.reader(Order, LockedOrder._fields).rows_of(set(order_ids), lock=for_update)
    return {row[0]: LockedOrder(*row) for row in found}
