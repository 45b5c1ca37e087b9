"""Pools that run an executor's tasks: threads for each kind of task."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from django.db import close_old_connections
from structlog import get_logger

from shop.concurrency.thread_pool import POOL_BUSY, POOL_THREADS, POOL_WAITING
from shop.observability import process_metrics

log = get_logger(__name__)
PoolTask = Callable[[], None]


class Pools(Protocol):
    """The pools of an executor, by kind of task."""

    def submit(self, pool: str, task: PoolTask) -> None:
        """Run the task in the pool `batch`, `single`, `outside_call`, `recovery`, `event` or `callback`."""

    def pause(self, seconds: float) -> None:
        """Sleep, so that more sagas join the next batch."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the event, at most `seconds`. Returns whether it is set."""


class ThreadPools:
    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._pools = {
            name: ThreadPoolExecutor(size, thread_name_prefix=f"saga_{name}") for name, size in sizes.items()
        }
        self._mutex = threading.Lock()
        self._unfinished = dict.fromkeys(sizes, 0)
        process_metrics.add_sampler(self.sample)

    def submit(self, pool: str, task: PoolTask) -> None:
        self._count(pool, 1)
        self._pools[pool].submit(self._run, pool, task)

    def sample(self) -> None:
        """Set the gauges of these pools."""
        for name, size in self._sizes.items():
            unfinished = self._unfinished[name]
            POOL_THREADS.labels(f"saga_{name}").set(size)
            POOL_BUSY.labels(f"saga_{name}").set(min(unfinished, size))
            POOL_WAITING.labels(f"saga_{name}").set(max(0, unfinished - size))

    def pause(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))

    def _run(self, pool: str, task: PoolTask) -> None:
        """Run a task: its failure is logged, and broken connections are closed before it."""
        try:
            close_old_connections()
            task()
        except Exception:
            log.exception("saga task failed; recovery retries it")
        finally:
            self._count(pool, -1)

    def _count(self, pool: str, change: int) -> None:
        with self._mutex:
            self._unfinished[pool] += change
