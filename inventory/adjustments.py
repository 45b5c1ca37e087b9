"""Changes of what is on hand by staff: received goods, and corrections of wrong counts."""

from inventory import products, stock_levels
from inventory.models import StockMovement
from inventory.stock import insufficient_stock
from inventory.stock_levels import Change
from shop import clock
from shop.db import transactions
from shop.errors import invalid_field

# Far beyond any warehouse; a BIGINT holds nine billion of such steps.
LARGEST_DELTA = 10**9


def receive(*, product_id: int, quantity: int, reason: str) -> StockMovement:
    """Add received goods to what is on hand. Raises `NotFound`, and `Invalid` for a quantity below 1."""
    if quantity < 1:
        raise invalid_field("quantity", "too_small", "The received quantity must be at least 1.")
    return _move_stock(product_id=product_id, kind=StockMovement.Kind.RECEIVED, delta=quantity, reason=reason)


def adjust(*, product_id: int, delta: int, reason: str) -> StockMovement:
    """Correct what is on hand by `delta`, up or down, and return the movement that records it.

    Durable when it returns, unless the caller has a transaction open. Not safe to repeat by itself: run it
    by `recorded_answers.run_once`. Raises `NotFound`; `Invalid` for a delta of 0 or beyond the bounds;
    `Rejected` `insufficient_stock` when less than the reserved quantity would be left.
    """
    return _move_stock(product_id=product_id, kind=StockMovement.Kind.ADJUSTED, delta=delta, reason=reason)


def _move_stock(*, product_id: int, kind: StockMovement.Kind, delta: int, reason: str) -> StockMovement:
    _check_delta(delta)

    def move() -> StockMovement:
        product = products.lock(product_id)
        if product.available + delta < 0:
            short = {"product": product_id, "requested": -delta, "available": product.available}
            raise insufficient_stock([short])
        stock_levels.change({product_id: product}, {product_id: Change(on_hand=delta)})
        movement = StockMovement.objects.create(
            product=product,
            kind=kind,
            delta=delta,
            on_hand_after=product.on_hand,
            reason=reason,
            at=clock.now(),
        )
        stock_levels.note_movement(movement)
        return movement

    return transactions.run_or_savepoint(move, transactions.ONCE)


def _check_delta(delta: int) -> None:
    if delta == 0:
        raise invalid_field("delta", "zero", "A delta of 0 changes nothing.")
    if abs(delta) > LARGEST_DELTA:
        raise invalid_field("delta", "out_of_bounds", f"At most {LARGEST_DELTA} at a time.")
