"""What was sold and refunded of each product on each day of the shop's time zone: `ProductDay`.

The transaction that settles an order or a refund adds to the rows of its day, just before it commits, so that
a popular product's row is locked no longer than that.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from inventory.models import ProductDay
from shop.db import bulk_sql, open_transaction

KEY = ("day", "product_id")
SUMS = ("units_sold", "sold_amount", "units_refunded", "refunded_amount")
TABLE = bulk_sql.Table(ProductDay, KEY + SUMS)


class Change(NamedTuple):
    """What is added to the row of a product and a day; amounts are in the currency's minor unit."""

    day: date
    product_id: int
    units_sold: int = 0
    sold_amount: int = 0
    units_refunded: int = 0
    refunded_amount: int = 0


def add(changes: Iterable[Change]) -> None:
    """Add these up, by one statement before the transaction commits. Must be called inside a transaction."""
    open_transaction.write_before_commit(_write, changes)


def _write(changes: Sequence[Change]) -> None:
    rows: dict[tuple[date, int], list[int]] = {}
    for day, product_id, *numbers in changes:
        row = rows.setdefault((day, product_id), [0] * len(SUMS))
        for index, number in enumerate(numbers):
            row[index] += number
    cells: list[tuple[bulk_sql.Value, ...]] = [
        (day.isoformat(), product_id, *rows[day, product_id]) for day, product_id in sorted(rows)
    ]
    bulk_sql.add_up(TABLE, cells, key=KEY, sums=SUMS)
