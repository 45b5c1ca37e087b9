"""What was sold, refunded and lost of each product on each day of the shop's time zone: `ProductDay`.

The transaction that settles an order or a refund adds to the rows of its day, just before it commits, so that
a popular product's row is locked no longer than that.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from inventory.models import ProductDay
from shop.db import bulk_sql, open_transaction

KEY = ("day", "product_id")


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


SUMS = Change._fields[len(KEY) :]


def add(changes: Iterable[Change]) -> None:
    """Add these up, by one statement before the transaction commits. Must be called inside a transaction."""
    open_transaction.write_before_commit(_write, changes)


def add_lost(changes: Iterable[LostChange]) -> None:
    """As `add`."""
    open_transaction.write_before_commit(_write_lost, changes)


def _write(changes: Sequence[Change]) -> None:
    _add_up(Change._fields, changes)


def _write_lost(changes: Sequence[LostChange]) -> None:
    _add_up(LostChange._fields, changes)


def _add_up(columns: Sequence[str], changes: Sequence[Change] | Sequence[LostChange]) -> None:
    sums = columns[len(KEY) :]
    rows: dict[tuple[date, int], list[int]] = {}
    for day, product_id, *numbers in changes:
        row = rows.setdefault((day, product_id), [0] * len(sums))
        for index, number in enumerate(numbers):
            row[index] += number
    cells: list[tuple[bulk_sql.Value, ...]] = [
        (day.isoformat(), product_id, *rows[day, product_id]) for day, product_id in sorted(rows)
    ]
    bulk_sql.add_up(bulk_sql.Table(ProductDay, columns), cells, key=KEY, sums=sums)
