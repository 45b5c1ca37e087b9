"""Pausing and resuming a product: while it is paused it can't be ordered, and its open orders go on.

`inventory.reservations.check` refuses, by the product's row as each strategy locks it or whose version its
UPDATE requires; see `shop.pausing`.
"""

from inventory import products, stock_levels
from inventory.models import Product
from shop import clock, pausing
from shop.db import transactions


def pause(*, product_id: int, reason: str) -> Product:
    """Pause the product: once this returns, no process places an order of it until it is resumed.

    Durable on return; a product that is paused already stays as it is. Raises `NotFound`, and `Invalid`
    without a reason.
    """
    return _change(product_id, is_paused=True, reason=reason)


def resume(*, product_id: int, reason: str) -> Product:
    """End the product's pause: from now on it can be ordered, if it is active and in stock.

    Durable on return; a product that is not paused stays as it is. Raises `NotFound`, and `Invalid` without a
    reason.
    """
    return _change(product_id, is_paused=False, reason=reason)


def _change(product_id: int, *, is_paused: bool, reason: str) -> Product:
    given = pausing.check_reason(reason)
    products.get(product_id=product_id, include_inactive=True)

    def work() -> Product:
        product = products.lock(product_id)
        before = product.paused_at
        if (before is not None) == is_paused:
            return product
        product.paused_at = clock.now() if is_paused else None
        # Orders that read the product without a lock find its version changed, and read it again.
        product.version += 1
        product.save(update_fields=["paused_at", "version"])
        pausing.note(
            what="product.paused" if is_paused else "product.resumed",
            subject=f"product {product_id}",
            before=before,
            after=product.paused_at,
            reason=given,
        )
        stock_levels.publish_on_commit([product])
        return product

    return transactions.run(work, transactions.ONCE)
