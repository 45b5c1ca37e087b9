"""What was sold, refunded and lost of each product on each day of the shop's time zone: `ProductDay`.

The transaction that settles an order or a refund adds to the rows of its day, just before it commits, so that
a popular product's row is locked no longer than that.
"""

from collections.abc import Iterable

from foundation.db import open_transaction
from inventory import rows
from inventory.models import LostDemand
from inventory.product_counts import Change

SOLD = ("units_sold", "sold_amount", "units_refunded", "refunded_amount")
LOST = ("lost_units", "lost_amount", *(f"lost_{reason}" for reason in LostDemand.Reason.values))


def add(changes: Iterable[Change]) -> None:
    """Add these by one statement before the transaction commits, inside of which it must be."""
    open_transaction.write_before_commit(rows.add_to_days, changes)
