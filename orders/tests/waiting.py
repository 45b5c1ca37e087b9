"""Detects orders that wait for a lock on stock, and begins some behind a pause that waits for it."""

from functools import partial

from foundation.tests import waiting
from foundation.tests.waiting import waiting_at

KEEP = "SELECT id FROM inventory_product WHERE id = %s FOR UPDATE"
behind_a_pause = partial(waiting.behind_a_pause, keep=KEEP)


def somebody_waits_at_the_stock() -> bool:
    """Whether a statement on products is running: while the test holds a lock, it can only wait for that."""
    return waiting_at("%inventory_product%") > 0
