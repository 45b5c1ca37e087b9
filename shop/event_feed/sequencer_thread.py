"""A thread of each web process that gives events their positions soon after the commit.

It pauses until a commit of its own process, or a moment, for workers commit events too. Of all processes one
sequences at a time. `shop.sequence` of Celery beat does the same once a second, if no web process runs.
"""

import time

from shop.event_feed import sequencing, wakeup
from shop.repeated_work import RepeatedWork

LONGEST_PAUSE_SECONDS = 0.5
SHORTEST_PAUSE_SECONDS = 0.05
"""So that a pass under load has many events: each costs a commit."""


def _pause() -> float:
    time.sleep(SHORTEST_PAUSE_SECONDS)
    wakeup.wait(LONGEST_PAUSE_SECONDS)
    return 0.0


thread = RepeatedWork(
    sequencing.sequence, name="event sequencer", pause=_pause, failing="events get no positions"
)
