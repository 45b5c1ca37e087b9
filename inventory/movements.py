"""Writing movements of what is on hand: a row for each, and a line of the journal."""

from collections.abc import Sequence

from inventory.models import StockMovement
from shop import journal


def write(movements: Sequence[StockMovement]) -> None:
    """Append these movements to their products' histories, inside the caller's transaction."""
    StockMovement.objects.bulk_create(movements)
    for movement in movements:
        note(movement)


def note(movement: StockMovement) -> None:
    """Note a movement in the journal; customers learn of it by what becomes of their order."""
    journal.note(
        what=f"stock.{movement.kind}",
        subject=f"product {movement.product_id}",
        order_id=movement.order_id,
        before={"on_hand": movement.on_hand_after - movement.delta},
        after={"on_hand": movement.on_hand_after},
        detail=movement.reason,
        is_internal=movement.order_id is not None,
        at=movement.at,
    )
