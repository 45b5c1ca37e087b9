"""A thread of each web process that keeps waiting rooms moving, without the broker and without Redis; of all
processes one advances a sale at a time. `sales.sweep` of Celery beat does the same every `SWEEP_SECONDS`.
"""

from foundation.repeated_work import RepeatedWork
from sales.waiting_room import advancing, room_view

PERIOD_SECONDS = 0.5
CALM_PERIOD_SECONDS = 1.0
"""While no entry waits in any waiting room."""
_pause_seconds = PERIOD_SECONDS


def tick() -> None:
    """Read the waiting rooms, and advance those in which an entry may wait."""
    global _pause_seconds
    waiting = room_view.refresh()
    _pause_seconds = PERIOD_SECONDS if waiting else CALM_PERIOD_SECONDS
    advancing.advance_each(waiting)


thread = RepeatedWork(
    tick, name="waiting rooms", pause=lambda: _pause_seconds, failing="waiting rooms are not advanced"
)
