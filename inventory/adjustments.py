"""Changes of what is on hand by staff: received goods, and corrections of wrong counts."""

from foundation import clock
from foundation.db import transactions
from foundation.errors import Rejected, invalid_field
from foundation.lazy_texts import mark
from inventory import products, stock_levels
from inventory.availability import Change, insufficient_stock
from inventory.models import Product, StockMovement

# Far beyond any warehouse; a BIGINT holds nine billion of such steps.
LARGEST_DELTA = 10**9
BY_STAFF = (StockMovement.Kind.RECEIVED, StockMovement.Kind.ADJUSTED)


def receive(*, product_id: int, quantity: int, reason: str) -> StockMovement:
    """Add received goods to what is on hand. Raises `NotFound`, and `Invalid` for a quantity below 1."""
    return _move_stock(product_id=product_id, kind=StockMovement.Kind.RECEIVED, delta=quantity, reason=reason)


def adjust(*, product_id: int, delta: int, reason: str) -> StockMovement:
    """Correct what is on hand by `delta`, up or down, and return the movement that records it.

    Not safe to repeat by itself: run it by `recorded_answers.run_once`. Raises `NotFound`; `Invalid` for a
    delta of 0 or beyond the bounds; `Rejected` `insufficient_stock` when less than the reserved quantity
    would be left.
    """
    return _move_stock(product_id=product_id, kind=StockMovement.Kind.ADJUSTED, delta=delta, reason=reason)


def last_by_staff(product_id: int) -> int:
    """The id of the product's last movement that is no sale and no return of an order; 0 without one."""
    by_staff = StockMovement.objects.filter(product_id=product_id, kind__in=BY_STAFF)
    return by_staff.order_by("-id").values_list("id", flat=True).first() or 0


def require_last_by_staff(product_id: int, movement_id: int) -> None:
    """Require that staff moved nothing since this movement, until the caller's transaction ends: two
    operators that count the same shelf would correct it twice. Raises `NotFound`, and `Rejected`
    `stock_moved`.
    """
    product = products.lock(product_id)
    by_staff = StockMovement.objects.filter(product_id=product_id, kind__in=BY_STAFF)
    if newer := by_staff.filter(id__gt=movement_id).order_by("-id").first():
        raise Rejected(
            mark(
                "The stock of {sku} was moved meanwhile: {delta:+,}, {reason!r}; {on_hand:,} on hand "
                "now. Nothing was done; check the figures, then continue.",
                sku=product.sku,
                delta=newer.delta,
                reason=newer.reason,
                on_hand=product.on_hand,
            ),
            code="stock_moved",
        )


def require_possible(product: Product, *, kind: str, delta: int) -> None:
    """Check a movement of what is on hand now. Raises what `receive` and `adjust` raise for it."""
    _require_valid(kind, delta)
    if product.available + delta < 0:
        short = {"product": product.pk, "requested": -delta, "available": product.available}
        raise insufficient_stock([short])


def _require_valid(kind: str, delta: int) -> None:
    if kind == StockMovement.Kind.RECEIVED and delta < 1:
        raise invalid_field("quantity", "too_small", mark("The received quantity must be at least 1."))
    if delta == 0:
        raise invalid_field("delta", "zero", mark("A delta of 0 changes nothing."))
    if abs(delta) > LARGEST_DELTA:
        detail = mark("At most {largest} at a time.", largest=LARGEST_DELTA)
        raise invalid_field("delta", "out_of_bounds", detail)


def _move_stock(*, product_id: int, kind: StockMovement.Kind, delta: int, reason: str) -> StockMovement:
    _require_valid(kind, delta)

    def move() -> StockMovement:
        product = products.lock(product_id)
        require_possible(product, kind=kind, delta=delta)
        stock_levels.change({product_id: product}, {product_id: Change(on_hand=delta)})
        movement = StockMovement.objects.create(
            product=product,
            kind=kind,
            delta=delta,
            on_hand_after=product.on_hand,
            reason=reason,
            at=clock.now(),
        )
        stock_levels.note_movements([movement])
        return movement

    return transactions.run_or_savepoint(move, transactions.ONCE)
