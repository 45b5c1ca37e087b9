"""A thread of each web process that keeps waiting rooms moving, without the broker and without Redis; of all
processes one advances a sale at a time. `sales.sweep` of Celery beat does the same every `SWEEP_SECONDS`.
"""

from sales.waiting_room import admission, room_view
from shop.repeated_work import RepeatedWork

PERIOD_SECONDS = 0.5
IDLE_PERIOD_SECONDS = 2.0
"""While there is no unended sale with a waiting room."""


def tick() -> None:
    """Read the waiting rooms, and advance those in which an entry may wait."""
    admission.advance_each(room_view.refresh())


thread = RepeatedWork(
    tick,
    name="waiting rooms",
    pause=lambda: PERIOD_SECONDS if room_view.is_used() else IDLE_PERIOD_SECONDS,
    failing="waiting rooms are not advanced",
)
