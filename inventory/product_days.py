"""What was sold, refunded and lost of each product on each day of the shop's time zone: `ProductDay`.

The transaction that settles an order or a refund adds to the rows of its day, just before it commits, so that
a popular product's row is locked no longer than that.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from foundation.db import bulk_sql, open_transaction
from inventory.models import LostDemand, ProductDay


class Change(NamedTuple):
    """What is added to the row of a product and a day, by the names of its columns; amounts are in the
    currency's minor unit.
    """

    day: date
    product_id: int
    numbers: Mapping[str, int]


SOLD = ("units_sold", "sold_amount", "units_refunded", "refunded_amount")
LOST = ("lost_units", "lost_amount", *(f"lost_{reason}" for reason in LostDemand.Reason.values))


def add(changes: Iterable[Change]) -> None:
    """Add these by one statement before the transaction commits, inside of which it must be."""
    open_transaction.write_before_commit(_write, changes)


def _write(changes: Sequence[Change]) -> None:
    rows: dict[tuple[date, int], Counter[str]] = defaultdict(Counter)
    for day, product_id, numbers in changes:
        rows[day, product_id].update(numbers)
    columns = sorted({name for numbers in rows.values() for name in numbers})
    cells: list[list[bulk_sql.Value]] = [
        [day.isoformat(), product_id, *(rows[day, product_id][name] for name in columns)]
        for day, product_id in sorted(rows)
    ]
    bulk_sql.add_up(ProductDay, cells, key=("day", "product_id"), sums=columns)
