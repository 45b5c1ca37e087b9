"""A thread of each web process that keeps waiting rooms moving, without the broker and without Redis.

Twice a second it reads the unended sales (`room_view`), and advances those in which an entry waits. Of all
processes one does it at a time, by the sale's lock. `sales.sweep` of Celery beat does the same every
`SWEEP_SECONDS`, if no web process runs, and expires and ends what no request waits for.
"""

import threading

from django.db import connection
from structlog import get_logger

from sales.waiting_room import admission, room_view

log = get_logger(__name__)
PERIOD_SECONDS = 0.5
IDLE_PERIOD_SECONDS = 2.0
"""While there is no unended sale with a waiting room."""

_stop = threading.Event()


def start() -> None:
    """Start the thread of this process."""
    threading.Thread(target=_run, name="waiting rooms", daemon=True).start()


def stop() -> None:
    """Let the thread end after its current tick, because the process is about to exit."""
    _stop.set()


def tick() -> None:
    """Read the waiting rooms, and advance those in which an entry may wait."""
    admission.advance_each(room_view.refresh())


def _run() -> None:
    is_failing = False
    while not _stop.wait(PERIOD_SECONDS if room_view.is_used() else IDLE_PERIOD_SECONDS):
        try:
            tick()
            is_failing = False
        except Exception as error:
            # The thread must survive any error: the next tick does what this one could not.
            if not is_failing:
                log.warning("waiting rooms are not advanced; trying again", error=str(error)[:200])
            is_failing = True
            connection.close()
    connection.close()
