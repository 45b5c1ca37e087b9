"""Orders that wait at the stock, for tests."""

from shop.tests.waiting import waiting_at


def somebody_waits_at_the_stock() -> bool:
    """Whether a statement on products is under way: beside a lock it can only be waiting for it."""
    return waiting_at("%inventory_product%") > 0
