"""Pools that run an executor's tasks: threads for each kind of task."""

import threading
import time
from collections.abc import Callable, Mapping

from structlog import get_logger

from shop.concurrency.thread_pool import ThreadPool
from shop.errors import Overloaded

log = get_logger(__name__)
PoolTask = Callable[[], None]
# The executor bounds what it submits.
MAX_WAITING = 100_000


class ThreadPools:
    """The pools of an executor, by kind of task; recovery does what a task that fails was to do."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._pools = {
            name: ThreadPool(f"saga_{name}", threads=size, max_waiting=MAX_WAITING)
            for name, size in sizes.items()
        }

    def submit(self, pool: str, task: PoolTask) -> None:
        """Run the task in the pool `batch`, `single`, `outside_call`, `recovery` or `callback`."""
        try:
            self._pools[pool].start(task)
        except Overloaded:
            # The system has no thread. Nothing would look for this task again: the caller runs it.
            try:
                task()
            except Exception:
                log.exception("a saga task failed; recovery retries it", pool=pool)

    def pause(self, seconds: float) -> None:
        """Sleep, so that more sagas join the next batch."""
        time.sleep(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the event, at most `seconds`. Returns whether it is set."""
        return event.wait(max(0.0, seconds))
