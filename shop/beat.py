"""Celery beat's scheduler, which runs the housekeeping itself while the broker is away."""

from celery.beat import PersistentScheduler, ScheduleEntry, SchedulingError
from structlog import get_logger

log = get_logger(__name__)


class Scheduler(PersistentScheduler):
    """Redis or RabbitMQ down must not stop expiry and recovery: then beat is its own worker."""

    def apply_async(self, entry: ScheduleEntry, *args: object, **kwargs: object) -> object:
        try:
            return super().apply_async(entry, *args, **kwargs)
        except SchedulingError as error:
            log.warning("broker away, running the task here", task=entry.task, error=str(error))
            return self.app.tasks[entry.task].apply()
