"""Orders in the database: new rows, locked rows, and the transitions between statuses."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from foundation import clock
from foundation.db import bulk_sql, open_transaction
from foundation.errors import NotFound
from foundation.lazy_texts import mark as _
from inventory.reservations import Line
from orders.models import Order, OrderLine

Status = Order.Status

TRANSITIONS: dict[str, frozenset[str]] = {
    Status.AWAITING_PAYMENT: frozenset({Status.PAYING, Status.CANCELLED, Status.EXPIRED}),
    # Back to awaiting payment when a card was refused, and the order is kept for another one.
    Status.PAYING: frozenset({Status.PAID, Status.PAYMENT_FAILED, Status.AWAITING_PAYMENT}),
    Status.PAID: frozenset({Status.REFUNDING}),
    Status.REFUNDING: frozenset({Status.PAID, Status.REFUNDED}),
    # The gateway took a refund back.
    Status.REFUNDED: frozenset({Status.PAID}),
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
    if not order_ids:
        return 0
    cells = bulk_sql.SqlLiterals()
    return bulk_sql.update(
        Order,
        {"status": str(to), **fields},
        condition=f"id IN ({cells.listed(order_ids)}) AND status IN ({cells.listed(sources)})",
        cells=cells,
    )


class OrderRow(NamedTuple):
    id: UUID
    account_id: int
    status: str
    items_amount: int
    discount_amount: int
    points_amount: int
    card_amount: int
    total_amount: int
    currency: str
    coupon_code: str
    units: int
    placed_at: datetime
    expires_at: datetime
    paid_at: datetime | None = None
    refunded_amount: int = 0
    failure_code: str = ""
    failure_detail: str = ""
    number: str | None = None
    metadata: dict[str, str] | None = None


def lock(order_ids: Iterable[UUID]) -> dict[UUID, OrderRow]:
    """Lock these orders in the order of their ids."""
    open_transaction.assert_inside()
    found = bulk_sql.reader(Order, OrderRow._fields).rows_of(set(order_ids), lock=bulk_sql.for_update())
    return {row[0]: OrderRow(*row) for row in found}


def mark_paid(orders: Collection[OrderRow], *, at: datetime) -> None:
    """Have these orders, locked by `lock`, become paid with the next statement."""
    if wrong := {order.status for order in orders if Status.PAID not in TRANSITIONS[order.status]}:
        raise RuntimeError(f"Orders that are {', '.join(wrong)} can't become paid.")
    cells = bulk_sql.SqlLiterals()
    ids = cells.listed(order.id for order in orders)
    statement = f"UPDATE orders_order SET status = 'paid', paid_at = {cells[at]} WHERE id IN ({ids})"  # noqa: S608
    bulk_sql.execute_deferred(statement)


def add_refunded(amounts: Mapping[UUID, int]) -> None:
    """Add these amounts to what is refunded of the locked orders, by one statement."""
    cells = bulk_sql.SqlLiterals()
    ids = cells.listed(amounts)
    added = f"refunded_amount + {cells.case('id', amounts)}"
    bulk_sql.execute_deferred(f"UPDATE orders_order SET refunded_amount = {added} WHERE id IN ({ids})")  # noqa: S608


def lock_one(order_id: UUID, **own: int) -> Order:
    """The order, locked. Raises `NotFound`. Read without a lock first: locking a missing row locks a gap."""
    if not Order.objects.filter(id=order_id, **own).exists():
        raise NotFound(_("There is no such order."))
    return Order.objects.select_for_update().get(id=order_id)


class NewLine(NamedTuple):
    order_id: UUID
    product_id: int
    sku: str
    name: str
    quantity: int
    unit_price: int
    line_amount: int
    discount_amount: int
    limit_per_account: int | None
    sale_id: int | None
    refunded_quantity: int = 0


ORDERS = bulk_sql.Table(Order, OrderRow._fields)
LINES = bulk_sql.Table(OrderLine, NewLine._fields)


def insert_orders(orders: Sequence[OrderRow], lines: Sequence[NewLine]) -> None:
    """Insert new orders with all their lines; must be called inside a transaction."""
    bulk_sql.insert(ORDERS, [_with_text(order) if order.metadata else order for order in orders])
    bulk_sql.insert(LINES, lines)


def _with_text(order: OrderRow) -> tuple[Any, ...]:
    return order._replace(metadata=orjson.dumps(order.metadata).decode())  # type: ignore[arg-type]


def read_lines(order_ids: Sequence[UUID]) -> dict[UUID, list[Line]]:
    lines: dict[UUID, list[Line]] = {order_id: [] for order_id in order_ids}
    columns = ("order_id", "product_id", "quantity", "line_amount", "discount_amount")
    rows = bulk_sql.reader(OrderLine, columns).rows_of(order_ids, column="order_id")
    for order_id, product_id, quantity, line_amount, discount_amount in rows:
        lines[order_id].append(Line(product_id, quantity, line_amount - discount_amount))
    return lines


def is_lapsed(order: Order | OrderRow) -> bool:
    """Whether the order counts as expired, even if the sweep has not ended it yet."""
    return order.status == Order.Status.AWAITING_PAYMENT and order.expires_at <= clock.now()
