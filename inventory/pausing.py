"""Pausing and resuming a product: while it is paused it can't be ordered, and its open orders go on."""

from functools import partial

from inventory import products, stock_levels
from inventory.models import Product
from shop import pausing


def set_paused(*, product_id: int, is_paused: bool, reason: str) -> Product:
    """Pause the product, or end its pause, after which it can be ordered if it is active and in stock.

    Once a pause returns, no process places an order of it until it is resumed. Durable on return; a product
    that is so already stays as it is. Raises `NotFound`, and `Invalid` without a reason.
    """

    lock = partial(products.lock, product_id)
    product = pausing.set_paused(lock, "product", is_paused=is_paused, reason=reason)
    stock_levels.publish_on_commit([product])
    return product


pause, resume = partial(set_paused, is_paused=True), partial(set_paused, is_paused=False)
