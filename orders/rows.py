"""The rows of orders and their lines, of order numbers, and what the database says of products' days.

Paying, refunding, cancelling and expiring lock orders first, in the order of their ids, then sagas, stock,
coupons and wallets. Placing inserts orders and lines once it has locked stock, campaigns, entries of sales,
the payer's rows and, for the first order of a block, the counter of numbers.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from itertools import repeat
from typing import Any
from uuid import UUID

import orjson
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import F

from foundation import clock
from foundation.db import bulk_sql, open_transaction, transactions
from foundation.db.rows import save_changes
from foundation.errors import NotFound
from foundation.lazy_texts import mark
from inventory.availability import Line
from inventory.product_counts import SOLD
from orders import order_numbers
from orders.models import NumberState, Order, OrderLine
from orders.order_states import SOURCES, NewLine, OrderRow, Status
from orders.refund_parts import RefundLine

ORDERS = bulk_sql.Table(Order, OrderRow._fields)
LINES = bulk_sql.Table(OrderLine, NewLine._fields)


# Orders and lines


def lock_orders(order_ids: Iterable[UUID]) -> dict[UUID, OrderRow]:
    """Lock these orders in the order of their ids."""
    open_transaction.assert_inside()
    found = bulk_sql.reader(Order, OrderRow._fields).rows_of(set(order_ids), lock=bulk_sql.for_update())
    return {row[0]: OrderRow(*row) for row in found}


def lock_order(order_id: UUID, **own: int) -> Order:
    """The order, locked. Raises `NotFound`. Read without a lock first: locking a missing row locks a gap."""
    if not Order.objects.filter(id=order_id, **own).exists():
        raise NotFound(mark("There is no such order."))
    return Order.objects.select_for_update().get(id=order_id)


def read_lines(order_ids: Sequence[UUID]) -> dict[UUID, list[Line]]:
    lines: dict[UUID, list[Line]] = {order_id: [] for order_id in order_ids}
    columns = ("order_id", "product_id", "quantity", "line_amount", "discount_amount")
    rows = bulk_sql.reader(OrderLine, columns).rows_of(order_ids, column="order_id")
    for order_id, product_id, quantity, line_amount, discount_amount in rows:
        lines[order_id].append(Line(product_id, quantity, line_amount - discount_amount))
    return lines


def transition(order_ids: Collection[UUID], *, to: str, **fields: Any) -> int:
    """Change the orders whose status allows it to status `to`, and set `fields`. Returns how many changed."""
    if not order_ids:
        return 0
    cells = bulk_sql.SqlLiterals()
    return bulk_sql.update(
        Order,
        {"status": str(to), **fields},
        condition=f"id IN ({cells.listed(order_ids)}) AND status IN ({cells.listed(SOURCES[to])})",
        cells=cells,
    )


def mark_paid(orders: Collection[OrderRow], *, at: datetime) -> None:
    """Have these orders, locked by `lock_orders`, become paid with the next statement."""
    if wrong := {order.status for order in orders if order.status not in SOURCES[Status.PAID]}:
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


def insert_orders(orders: Sequence[OrderRow], lines: Sequence[NewLine]) -> None:
    """Insert new orders with all their lines; must be called inside a transaction."""
    bulk_sql.insert(ORDERS, [_with_text(order) if order.metadata else order for order in orders])
    bulk_sql.insert(LINES, lines)


def _with_text(order: OrderRow) -> tuple[Any, ...]:
    return order._replace(metadata=orjson.dumps(order.metadata).decode())  # type: ignore[arg-type]


# Order numbers

BLOCK = 1_000
"""How many values of the counter a process takes at a time: one of so many orders pays for its lock."""
ROW = 1
GAP = 1_000_000
NUMBERED_AT_ONCE = 500
Value = tuple[int, bytes]
"""Of the counter, with the key of its permutation."""
_left: deque[Value] = deque()
"""What this process has left of the blocks that it took; what that is at its end is lost."""


class Numbers:
    """The numbers of the orders of one transaction."""

    def __init__(self) -> None:
        self._own: deque[Value] = deque()

    def next(self) -> str:
        """The number of a new order, inside its transaction. The first order of a block locks the counter,
        after all that others wait for.
        """
        with suppress(IndexError):
            return order_numbers.permuted(*(self._own or _left).popleft())
        self._own.extend(_take_block())
        # A transaction that fails gives the block back to the counter, so no other may use it before.
        transaction.on_commit(partial(_left.extend, self._own))
        return self.next()


def number_orders() -> int:
    """Number the orders that an earlier release placed, the oldest first, in short transactions. Returns how
    many.
    """
    count = 0
    while done := transactions.run(_number_some, transactions.REPEATABLE):
        count += done
    return count


def _number_some() -> int:
    # The index has those without a number in the order of ids; an ORDER BY could have the table read instead.
    without = Order.objects.filter(number=None).select_for_update(skip_locked=True).order_by()
    ids = list(without.values_list("id", flat=True)[:NUMBERED_AT_ONCE])
    if not ids:
        return 0
    cells = bulk_sql.SqlLiterals()
    numbers = Numbers()
    of_orders = cells.case("id", {id: numbers.next() for id in ids})
    statement = f"UPDATE orders_order SET number = {of_orders} WHERE id IN ({cells.listed(ids)})"  # noqa: S608
    bulk_sql.execute_deferred(statement)
    return len(ids)


def leave_gap() -> None:
    """Leave out the numbers that may have been given out since the state of a database that is restored."""
    NumberState.objects.filter(pk=ROW).update(next_value=F("next_value") + GAP)


def _take_block() -> Iterable[Value]:
    """Take the counter's next values; the row stays locked until the transaction ends."""
    state = NumberState.objects.select_for_update().get(pk=ROW)
    block = range(state.next_value, state.next_value + BLOCK)
    save_changes(state, next_value=block.stop)
    return zip(block, repeat(bytes.fromhex(state.key)), strict=False)


# Products' days

# A row for each of these refunds, once it is settled, and each line of its order.
REFUNDS = """
SELECT 'refund', line.product_id, refund.id, line.id, refund.amount, refund.points_amount,
    line.line_amount - line.discount_amount, part.quantity, part.amount, {settled}, {failed}
FROM ({chosen}) AS chosen
JOIN orders_refund AS refund ON refund.id = chosen.id
JOIN orders_orderline AS line ON line.order_id = refund.order_id
LEFT JOIN orders_refundline AS part ON part.refund_id = refund.id AND part.line_id = line.id
WHERE refund.settled_at IS NOT NULL AND refund.source <> 'late_charge'
"""
INSIDE = "CASE WHEN refund.{column} >= {since} AND refund.{column} < {until} THEN 1 ELSE 0 END"
REFUNDED_AT = ("settled_at", "failed_at")
OF_PERIOD = "SELECT id FROM orders_refund WHERE {column} >= {since} AND {column} < {until}"
# One statement sees the table and all that it is compared with at one moment.
DAY = """
SELECT 'stored', product_id, NULL, NULL, units_sold, sold_amount, units_refunded, refunded_amount,
    NULL, NULL, NULL
FROM inventory_productday WHERE day = {day}
UNION ALL
SELECT 'sold', line.product_id, NULL, NULL,
    SUM(line.quantity), SUM(line.line_amount - line.discount_amount), 0, 0, NULL, NULL, NULL
FROM orders_order AS placed JOIN orders_orderline AS line ON line.order_id = placed.id
WHERE placed.paid_at >= {since} AND placed.paid_at < {until} GROUP BY line.product_id
UNION ALL
"""


def read_refunds(
    refund_ids: Collection[UUID], database: str = DEFAULT_DB_ALIAS, *, have_failed: bool = False
) -> list[RefundLine]:
    """The lines of the orders of these refunds, which have settled."""
    if not refund_ids:
        return []
    chosen = f"SELECT id FROM orders_refund WHERE id IN ({bulk_sql.SqlLiterals().listed(refund_ids)})"  # noqa: S608 - ids
    statement = REFUNDS.format(chosen=chosen, settled=int(not have_failed), failed=int(have_failed))
    return [RefundLine(*row[1:]) for row in bulk_sql.fetch(statement, database=database)]


def read_day(day: date) -> tuple[list[tuple[int, dict[str, int]]], list[RefundLine]]:
    """What orders say was sold of products that day less what the table has, by its columns, and the refunds
    that settled or failed then.
    """
    cells = bulk_sql.SqlLiterals()
    since, until = (cells[instant] for instant in clock.day_bounds(day))
    period = {"since": since, "until": until}
    settled, failed = (INSIDE.format(column=column, **period) for column in REFUNDED_AT)
    chosen = " UNION ".join([OF_PERIOD.format(column=column, **period) for column in REFUNDED_AT])
    statement = DAY.format(day=cells[day.isoformat()], **period)
    statement += REFUNDS.format(chosen=chosen, settled=settled, failed=failed)
    sold = []
    refunds = []
    for kind, product_id, *values in bulk_sql.fetch(statement):
        if kind == "refund":
            refunds.append(RefundLine(product_id, *values))
            continue
        sign = -1 if kind == "stored" else 1
        numbers = [sign * int(number) for number in values[2:6]]
        sold.append((product_id, dict(zip(SOLD, numbers, strict=True))))
    return sold, refunds
