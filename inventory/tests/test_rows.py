"""What the rows of products write, from what they are handed."""

from datetime import date

import pytest

from inventory import rows
from inventory.product_counts import DayChange

pytestmark = pytest.mark.rules
MONDAY = date(2026, 1, 5)
TUESDAY = date(2026, 1, 6)


def test_changes_of_a_product_and_day_are_added_up_in_order():
    changes = [
        DayChange(TUESDAY, 1, {"units_sold": 1}),
        DayChange(MONDAY, 2, {"units_sold": 2, "sold_amount": 20}),
        DayChange(MONDAY, 2, {"units_sold": 3}),
    ]

    totals = rows.add_up(changes)

    assert list(totals.items()) == [
        ((MONDAY, 2), {"units_sold": 5, "sold_amount": 20}),
        ((TUESDAY, 1), {"units_sold": 1}),
    ]
