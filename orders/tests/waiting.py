"""Detects orders that wait for a lock on stock."""

from foundation.tests.waiting import waiting_at


def somebody_waits_at_the_stock() -> bool:
    """Whether a statement on products is running: while the test holds a lock, it can only wait for that."""
    return waiting_at("%inventory_product%") > 0
