"""What was sold, refunded and lost of each product on each day of the shop's time zone: `ProductDay`.

The transaction that settles an order or a refund adds to the rows of its day, just before it commits, so that
a popular product's row is locked no longer than that.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from operator import add as add_numbers
from typing import NamedTuple

from inventory.models import ProductDay
from shop.db import bulk_sql, open_transaction


class Change(NamedTuple):
    """What is added to the row of a product and a day; amounts are in the currency's minor unit."""

    day: date
    product_id: int
    units_sold: int = 0
    sold_amount: int = 0
    units_refunded: int = 0
    refunded_amount: int = 0


class LostChange(NamedTuple):
    """What was lost of a product on a day: units, their amount, and the accounts by reason."""

    day: date
    product_id: int
    lost_units: int = 0
    lost_amount: int = 0
    lost_sold_out: int = 0
    lost_over_limit: int = 0
    lost_expired: int = 0
    lost_declined: int = 0
    lost_given_up: int = 0


SUMS = Change._fields[2:]


def add(changes: Iterable[Change | LostChange]) -> None:
    """Add these, of one kind, by one statement before the transaction commits, inside of which it must be."""
    open_transaction.write_before_commit(_write, changes)


def _write(changes: Sequence[Change | LostChange]) -> None:
    columns = type(changes[0])._fields
    rows: dict[tuple[date, int], list[int]] = {}
    for day, product_id, *numbers in changes:
        row = rows.setdefault((day, product_id), [0] * len(numbers))
        row[:] = map(add_numbers, row, numbers)
    cells: list[tuple[bulk_sql.Value, ...]] = [
        (day.isoformat(), product_id, *rows[day, product_id]) for day, product_id in sorted(rows)
    ]
    table = bulk_sql.Table(ProductDay, columns)
    bulk_sql.add_up(table, cells, key=columns[:2], sums=columns[2:])
