"""Which beat acts, where several run: the one that holds the lease, a row of the database.

The lease saves double work and is no guarantee: every task may run twice. While the database is away the one
that acted goes on, and the others go on waiting.
"""

import socket
import time
from datetime import timedelta

from django.db import Error, close_old_connections
from django.db.models import Q
from prometheus_client import Gauge
from structlog import get_logger

from shop import clock
from shop.db import transactions
from shop.errors import Unavailable
from shop.models import ProcessLease
from shop.operations import heartbeats
from shop.repeated_work import RepeatedWork

log = get_logger(__name__)
NAME = "beat"
LEASE_SECONDS = 6
"""A crash of the acting beat costs this and `RENEW_SECONDS` at most."""
RENEW_SECONDS = 1.5
"""Between two statements; three of them may fail before the lease lapses."""
LONGEST_TICK_SECONDS = 15.0
"""A beat whose scheduler has not ticked for so long hangs: its lease lapses, and another beat acts."""
ACTING = Gauge(
    "firstcome_beat_acting",
    "Whether this beat holds the lease, and so sends tasks: 1 or 0.",
    multiprocess_mode="livemax",
)


class BeatLease:
    """The lease, as one beat sees it. It is kept by a thread, because the database may hang."""

    def __init__(self, schedule: str) -> None:
        # The same after a restart of the process, which then need not wait for its own lease to lapse.
        self.holder = f"{socket.gethostname()}:{schedule}"[-200:]
        self.is_ours = False
        self._ticked_at = time.monotonic()
        self._work = RepeatedWork(
            self.refresh,
            name="beat lease",
            pause=lambda: RENEW_SECONDS,
            begins_at_once=True,
            at_end=self._give_up,
        )

    def start(self) -> None:
        self._work.start()

    def note_tick(self) -> None:
        self._ticked_at = time.monotonic()

    def stop(self) -> None:
        """Give it up, so that another beat acts at once."""
        self._work.stop(within_seconds=RENEW_SECONDS)

    def refresh(self) -> None:
        """Take it if it is free, or renew it, unless the scheduler hangs.

        While the database is away, what was known last goes on.
        """
        hangs = time.monotonic() - self._ticked_at > LONGEST_TICK_SECONDS
        try:
            close_old_connections()
            is_ours = not hangs and take(self.holder)
        except Exception as error:
            # Whatever it is, the next attempt follows: without this thread no beat might act.
            log.warning("the beat lease can't be renewed", is_ours=self.is_ours, error=str(error)[:200])
            is_ours = self.is_ours
        if is_ours != self.is_ours:
            log.info("this beat acts" if is_ours else "another beat acts", holder=self.holder)
        self.is_ours = is_ours
        ACTING.set(is_ours)
        if not is_ours:
            # Its last tick is of the past: as an age it would say that beat is silent, while another acts.
            heartbeats.suspend(heartbeats.BEAT)

    def _give_up(self) -> None:
        self.is_ours = False
        try:
            release(self.holder)
        except (Error, Unavailable) as error:
            log.info("the beat lease was not released; it lapses", error=str(error)[:200])


def take(holder: str) -> bool:
    """Take the lease, or renew it; False while another holder has it. Raises `Error` and `Unavailable`."""
    now = clock.now()
    rows = ProcessLease.objects.filter(
        Q(holder=holder)
        | Q(leased_until__lte=now)
        | Q(leased_until__gt=now + timedelta(seconds=2 * LEASE_SECONDS)),
        name=NAME,
    )
    until = now + timedelta(seconds=LEASE_SECONDS)
    if transactions.run(lambda: rows.update(holder=holder, leased_until=until), transactions.REPEATABLE):
        return True
    if ProcessLease.objects.filter(name=NAME).exists():
        return False
    first = ProcessLease(name=NAME, holder=holder, leased_until=until)
    ProcessLease.objects.bulk_create([first], ignore_conflicts=True)
    return ProcessLease.objects.filter(name=NAME, holder=holder).exists()


def release(holder: str) -> None:
    ProcessLease.objects.filter(name=NAME, holder=holder).update(leased_until=clock.now())
