"""Detects orders that wait for a lock on stock, and begins some behind a pause that waits for it."""

from collections.abc import Callable
from typing import Any

from inventory.models import Product
from shop.tests.racing import wait_until
from shop.tests.second_connection import holding
from shop.tests.waiting import in_background, waiting_at, waiting_for_the_row

KEEP = "SELECT id FROM inventory_product WHERE id = %s FOR UPDATE"


def somebody_waits_at_the_stock() -> bool:
    """Whether a statement on products is running: while the test holds a lock, it can only wait for that."""
    return waiting_at("%inventory_product%") > 0


def behind_a_pause(
    pause: Callable[[], Any], product: Product, works: list[Callable[[], Any]], *, waiting: int = 1
) -> list[Any]:
    """What these works return or raise that are begun while a pause waits for the row, before it commits."""
    with holding(KEEP, product.pk) as keeper:
        paused = in_background(pause)
        wait_until(lambda: waiting_for_the_row(Product) == 1)
        begun = [in_background(work) for work in works]
        wait_until(lambda: waiting_for_the_row(Product) > waiting)
        keeper.rollback()
        assert paused.result(30).paused_at
        return [one.exception(60) or one.result() for one in begun]
