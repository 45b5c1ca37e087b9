"""A thread of each web process that gives events their positions soon after the commit.

It pauses until a commit of its own process, or a moment, for workers commit events too. Of all processes one
sequences at a time. `shop.sequence` of Celery beat does the same once a second, if no web process runs.
"""

import threading
import time

from django.db import connection
from structlog import get_logger

from shop.event_feed import sequencing, wakeup

log = get_logger(__name__)
LONGEST_PAUSE_SECONDS = 0.5
SHORTEST_PAUSE_SECONDS = 0.05
"""So that a pass under load has many events: each costs a commit."""

_stop = threading.Event()


def start() -> None:
    """Start the thread of this process."""
    threading.Thread(target=_run, name="event sequencer", daemon=True).start()


def stop() -> None:
    """Let the thread end after its current pass, because the process is about to exit."""
    _stop.set()


def _run() -> None:
    is_failing = False
    while not _stop.is_set():
        wakeup.wait(LONGEST_PAUSE_SECONDS)
        try:
            sequencing.sequence()
            is_failing = False
        except Exception as error:
            # The thread must survive any error: the next pass does what this one could not.
            if not is_failing:
                log.warning("events get no positions; trying again", error=str(error)[:200])
            is_failing = True
            connection.close()
        time.sleep(SHORTEST_PAUSE_SECONDS)
    connection.close()
