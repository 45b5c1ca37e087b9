"""Celery beat's scheduler, which runs the housekeeping itself while the broker is away."""

from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from shop import queueing


class Scheduler(PersistentScheduler):
    """Redis or RabbitMQ down must not stop expiry and recovery: then beat is its own worker."""

    # Celery's own would wait for the broker without end before the first task; ours comes from the pool.
    producer = None

    def apply_async(self, entry: ScheduleEntry, *args: Any, **kwargs: Any) -> None:
        task, arguments = self.app.tasks[entry.task], entry.args or ()
        if not queueing.hand_over(task, arguments, **entry.options):
            queueing.work_here(task, arguments)
