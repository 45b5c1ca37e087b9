"""Writing movements of what is on hand: a row for each, and a line of the journal."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from inventory.models import StockMovement
from shop.db import bulk_sql
from shop.events import journal


class MovementRow(NamedTuple):
    """A movement's row."""

    product_id: int
    kind: str
    delta: int
    on_hand_after: int
    order_id: UUID | None
    reason: str
    at: datetime
    delivery_id: UUID | None = None


MOVEMENTS_PER_STATEMENT = 1_000
MOVEMENTS = bulk_sql.Table(StockMovement, MovementRow._fields)


def write(movements: Sequence[MovementRow]) -> None:
    """Append these movements to their products' histories, inside the caller's transaction."""
    for start in range(0, len(movements), MOVEMENTS_PER_STATEMENT):
        bulk_sql.insert(MOVEMENTS, movements[start : start + MOVEMENTS_PER_STATEMENT])
    for movement in movements:
        note(movement)


def note(movement: StockMovement | MovementRow) -> None:
    """Note a movement in the journal; customers learn of it by what becomes of their order."""
    journal.note(
        what=f"stock.{movement.kind}",
        subject=f"product {movement.product_id}",
        order_id=movement.order_id,
        before={"on_hand": movement.on_hand_after - movement.delta},
        after={"on_hand": movement.on_hand_after},
        detail=movement.reason,
        reference=f"delivery {movement.delivery_id}" if movement.delivery_id else "",
        is_internal=movement.order_id is not None,
        at=movement.at,
    )
