"""Notes of staff on orders. The journal has who wrote one and when, never its text: that may name people."""

from uuid import UUID

from foundation import clock, journal
from orders import rows as order_rows
from orders.models import OrderNote

LONGEST = 1000


def add(*, order_id: UUID, author_id: int, text: str) -> OrderNote:
    """Add a note of this account of staff; must be called inside a transaction. Raises `NotFound`."""
    order_rows.lock_order(order_id)
    note = OrderNote.objects.create(order_id=order_id, author_id=author_id, text=text, created_at=clock.now())
    journal.note(
        what="order.note_added",
        subject=f"order {order_id}",
        order_id=order_id,
        after={"note": note.pk},
        is_internal=True,
    )
    return note
