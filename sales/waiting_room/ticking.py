"""A thread of each web process that keeps waiting rooms moving, without the broker and without Redis.

Twice a second it reads the unended sales (`room_view`), and advances those in which an entry waits. Of all
processes one does it at a time, by the sale's lock. `sales.sweep` of Celery beat does the same every
`SWEEP_SECONDS`, if no web process runs, and expires and ends what no request waits for.
"""

from sales.waiting_room import admission, room_view
from shop.repeated_work import RepeatedWork

PERIOD_SECONDS = 0.5
IDLE_PERIOD_SECONDS = 2.0
"""While there is no unended sale with a waiting room."""


def tick() -> None:
    """Read the waiting rooms, and advance those in which an entry may wait."""
    admission.advance_each(room_view.refresh())


def _pause() -> float:
    return PERIOD_SECONDS if room_view.is_used() else IDLE_PERIOD_SECONDS


thread = RepeatedWork(tick, name="waiting rooms", pause=_pause, failing="waiting rooms are not advanced")
