"""Celery beat's scheduler: of several beats one acts, and runs the tasks itself without a broker."""

from datetime import timedelta
from functools import partial
from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry
from django.db import Error, connections

from shop import clock
from shop.operations import dispatch, heartbeats
from shop.operations.beat_lease import BeatLease
from shop.repeated_work import start_once

STANDBY_SECONDS = 0.2
"""Between two looks at the lease, while another beat acts."""
LEAST_PAUSE_SECONDS = 0.01
"""Celery's own scheduler spins for so long before each task."""
STEP_BACK = timedelta(seconds=1)
"""The clock is corrected by less each time that it is measured."""


class Scheduler(PersistentScheduler):
    """Runs tasks in threads while the broker is down, because expiry and recovery must not stop.

    Each task has a thread of its own, so that a reconciliation that takes an hour doesn't delay the expiry of
    orders. A task that is still running isn't started again.
    """

    # Celery's producer would wait for the broker without end before the first task; ours comes from the pool.
    producer = None

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
        return max(seconds, LEAST_PAUSE_SECONDS)

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

    def apply_async(self, entry: ScheduleEntry, *args: Any, **kwargs: Any) -> None:
        """Send the task, unless there is no row of its option `due`, which it would look for."""
        task, arguments = self.app.tasks[entry.task], entry.args or ()
        try:
            if hasattr(task, "due") and not task.due().exists():
                return
        except Error:
            connections.close_all()
        if not dispatch.send_to_broker(task, arguments, **entry.options):
            start_once(task.name, partial(dispatch.run_locally, task, arguments))
