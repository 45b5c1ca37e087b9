"""Celery beat's scheduler: of several beats one acts, and runs the tasks itself without a broker.

The one that acts holds a lease, a row of the database, which saves double work and is no guarantee: every
task may run twice. While the database is away it goes on, and the others go on waiting.
"""

import socket
import time
from datetime import timedelta
from functools import partial
from typing import Any

from celery import Task
from celery.beat import PersistentScheduler, ScheduleEntry
from django.db import Error, close_old_connections, connections
from prometheus_client import Gauge
from structlog import get_logger

from foundation import clock
from foundation.db import bulk_sql, transactions
from foundation.errors import Unavailable
from foundation.models import ProcessLease
from foundation.operations import dispatch, heartbeats
from foundation.repeated_work import RepeatedWork, start_once

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
STANDBY_SECONDS = 0.2
"""Between two looks at the lease, while another beat acts."""
TOGETHER_SECONDS = 0.1
"""What is due so soon after the next task is sent with it: beat wakes up once for both from then on."""
STEP_BACK = timedelta(seconds=1)
"""The clock is corrected by less each time that it is measured."""


class Scheduler(PersistentScheduler):
    """Runs tasks in threads while the broker is down, because expiry and recovery must not stop.

    Each task has a thread of its own, so that a reconciliation that takes an hour doesn't delay the expiry of
    orders. A task that is still running isn't started again.
    """

    # Celery's producer would wait for the broker without end before the first task; ours comes from the pool.
    producer = None
    _heap: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._lease: BeatLease | None = None
        # Before the schedule, which reads the time: beat ends here where its host's clock is wrong.
        clock.start()
        super().__init__(*arguments, **named)

    def tick(self, *arguments: Any, **named: Any) -> Any:
        """Send what is due, if this beat acts; seconds until the next tick."""
        if self._lease is None:
            self._lease = BeatLease(str(self.schedule_filename))
            self._lease.start()
        self._lease.note_tick()
        if not self._lease.is_ours:
            # Celery writes its file only after a look into it, and probes look at the file's age.
            _ = self.schedule
            return STANDBY_SECONDS
        self._start_anew_after_a_step_back()
        seconds = super().tick(*arguments, **named)
        heartbeats.record(heartbeats.BEAT)
        due = [event.time for event in self._heap if seconds]
        return seconds + max((at - due[0] for at in due if at - due[0] <= TOGETHER_SECONDS), default=0.0)

    def adjust(self, n: float, drift: float = 0.0) -> float:
        """Celery looks 10 ms before a task is due, and spins until it is."""
        return n

    def _start_anew_after_a_step_back(self) -> None:
        """Count from now what last ran in the future, because the database's clock went back since.

        It would wait until that clock is where it was: after a failover to a server that is 15 minutes
        behind, nothing would expire or recover for as long.
        """
        now = self.app.now()
        ahead = [entry for entry in self.schedule.values() if entry.last_run_at > now + STEP_BACK]
        for entry in ahead:
            entry.last_run_at = now
        if ahead:
            self._heap = None

    def close(self) -> None:
        if self._lease:
            self._lease.stop()
        super().close()

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        if has_work(self.app.tasks.get(entry.task)):
            super().apply_entry(entry, producer)

    def apply_async(self, entry: ScheduleEntry, *args: Any, **kwargs: Any) -> None:
        task = self.app.tasks[entry.task]
        arguments = entry.args or ()
        if not dispatch.send_to_broker(task, arguments, **entry.options):
            start_once(task.name, partial(dispatch.run_locally, task, arguments))


def has_work(task: "Task[Any, Any] | None") -> bool:
    """False where the task's option `is_due` says that it would find nothing to do."""
    try:
        return task is None or not hasattr(task, "is_due") or bool(task.is_due())
    except Error:
        connections.close_all()
        return True


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
            log.warning("the beat lease can't be renewed", is_ours=self.is_ours, error=error)
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
            log.info("the beat lease was not released; it lapses", error=error)


def take(holder: str) -> bool:
    """Take the lease, or renew it; False while another holder has it. Raises `Error` and `Unavailable`."""
    now = clock.now()
    cells = bulk_sql.SqlLiterals()
    until = now + timedelta(seconds=LEASE_SECONDS)
    far = now + timedelta(seconds=2 * LEASE_SECONDS)
    # Not by the ORM, which takes several times as long, for one statement again and again.
    is_free = f"holder = {cells[holder]} OR leased_until <= {cells[now]} OR leased_until > {cells[far]}"
    condition = f"name = '{NAME}' AND ({is_free})"
    values: dict[str, bulk_sql.Value] = {"holder": holder, "leased_until": until}

    def renew() -> bool:
        return bulk_sql.update(ProcessLease, values, condition=condition, cells=cells) == 1

    def make() -> bool:
        free = {"holder": holder, "leased_until": now}
        return ProcessLease.objects.get_or_create(name=NAME, defaults=free)[1]

    if transactions.run(renew, transactions.REPEATABLE):
        return True
    return transactions.run(make, transactions.REPEATABLE) and transactions.run(
        renew, transactions.REPEATABLE
    )


def release(holder: str) -> None:
    ProcessLease.objects.filter(name=NAME, holder=holder).update(leased_until=clock.now())
