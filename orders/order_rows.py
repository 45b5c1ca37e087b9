"""The rows of new orders and their lines, which a batch inserts with one statement per table."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from orders.models import Order, OrderLine
from shop.db import bulk_sql


class NewOrder(NamedTuple):
    """The row of an order that was just decided."""

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
    units: int | None
    placed_at: datetime
    expires_at: datetime
    paid_at: datetime | None = None
    refunded_amount: int = 0
    failure_code: str = ""
    failure_detail: str = ""


class NewLine(NamedTuple):
    """The row of a line: one product of the order."""

    order_id: UUID
    product_id: int
    sku: str
    name: str
    quantity: int
    unit_price: int
    line_amount: int
    discount_amount: int
    limit_per_account: int | None
    refunded_quantity: int = 0


ORDERS = bulk_sql.Table(Order, NewOrder._fields)
LINES = bulk_sql.Table(OrderLine, NewLine._fields)


def insert_orders(orders: Sequence[NewOrder], lines: Sequence[NewLine]) -> None:
    """Insert new orders with all their lines; must be called inside a transaction."""
    bulk_sql.insert(ORDERS, orders)
    bulk_sql.insert(LINES, lines)
