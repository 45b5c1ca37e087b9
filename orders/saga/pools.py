"""Pools that run an executor's tasks: threads for each kind of task."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from django.db import close_old_connections
from structlog import get_logger

log = get_logger(__name__)
Task = Callable[[], None]


class Pools(Protocol):
    """The pools of an executor, by kind of task."""

    def submit(self, pool: str, task: Task) -> None:
        """Run the task in the pool `batch`, `single`, `outside_call`, `recovery`, `event` or `callback`."""

    def submit_later(self, seconds: float, pool: str, task: Task) -> None:
        """Submit the task after `seconds`."""

    def pause(self, seconds: float) -> None:
        """Sleep, so that more sagas join the next batch."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the event, at most `seconds`. Returns whether it is set."""


class ThreadPools:
    """A thread pool of a given size for each kind of task."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._pools = {
            name: ThreadPoolExecutor(size, thread_name_prefix=f"saga_{name}") for name, size in sizes.items()
        }

    def submit(self, pool: str, task: Task) -> None:
        self._pools[pool].submit(guarded, task)

    def submit_later(self, seconds: float, pool: str, task: Task) -> None:
        timer = threading.Timer(seconds, partial(self.submit, pool, task))
        timer.daemon = True
        timer.start()

    def pause(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))


def guarded(task: Task) -> None:
    """Run a task of a pool: its failure is logged, and broken connections are closed before it."""
    try:
        close_old_connections()
        task()
    except Exception:
        log.exception("saga task failed; recovery retries it")
