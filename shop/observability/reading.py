"""Reading the state of systems that may hang, in a bounded time, for a scrape of the metrics.

The database, Redis and the broker are read at the same time, each by a thread that runs its jobs in order. A
job that takes longer than `READ_SECONDS` keeps its thread, and another one goes on with the jobs behind it;
after `MAX_THREADS` threads the jobs that are left are given up. A job that still runs from an earlier call is
not started again, so a system that hangs for long holds few threads.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple

from django.db import InterfaceError, OperationalError, connection, connections
from prometheus_client import Counter
from structlog import get_logger

log = get_logger(__name__)
READ_SECONDS = 1.0
MAX_THREADS = 3
FAILURES = Counter(
    "firstcome_gauge_failures", "Readings of a gauge that failed, or took too long.", ["gauge"]
)


class Source(Enum):
    """What a job reads. Jobs of `PROCESS` read variables of this process, and wait for nothing."""

    PROCESS = "process"
    DATABASE = "database"
    REDIS = "redis"
    BROKER = "broker"


class Job(NamedTuple):
    name: str
    source: Source
    read: Callable[[], Any]


_mutex = threading.Lock()
_running: set[str] = set()


def read_all(jobs: Sequence[Job], *, threads: int = MAX_THREADS) -> dict[str, Any]:
    """The results, by name, of the jobs that succeed within `READ_SECONDS * threads` seconds.

    Inside a transaction of the caller its thread runs them all, because no other sees what it has written.
    """
    by_source: defaultdict[Source, list[Job]] = defaultdict(list)
    for job in jobs:
        by_source[Source.PROCESS if connection.in_atomic_block else job.source].append(job)
    here = _Reading(by_source.pop(Source.PROCESS, ()))
    elsewhere = [_Reading(of_source) for of_source in by_source.values()]
    for _ in range(threads):
        for reading in elsewhere:
            reading.run_in_new_thread()
        here.run()
        deadline = time.monotonic() + READ_SECONDS
        for reading in elsewhere:
            reading.is_done.wait(max(0.0, deadline - time.monotonic()))
    return {name: result for reading in (here, *elsewhere) for name, result in reading.end().items()}


class _Reading:
    """The jobs of one source, and the results of those that have succeeded."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.is_done = threading.Event()
        self._mutex = threading.Lock()
        self._waiting = deque(jobs)
        self._unfinished = {job.name for job in jobs}
        self._results: dict[str, Any] = {}

    def run_in_new_thread(self) -> None:
        """Run the jobs that wait in a new thread."""
        if self._waiting:
            threading.Thread(target=self._run_and_disconnect, name="gauges", daemon=True).start()

    def run(self) -> None:
        """Run the jobs that wait."""
        while job := self._next_job():
            try:
                self._finish(job.name, [job.read()])
            except Exception as error:
                log.warning("a gauge can't be read", gauge=job.name, error=str(error)[:200])
                self._finish(job.name)
                if isinstance(error, OperationalError | InterfaceError):
                    # The jobs behind it would wait for the same database.
                    self._give_up_waiting()
            finally:
                with _mutex:
                    _running.discard(job.name)

    def end(self) -> dict[str, Any]:
        """Give up the jobs that are not done, and return the results of the others."""
        self._give_up_waiting()
        for name in tuple(self._unfinished):
            log.warning("a gauge takes too long to read", gauge=name)
            self._finish(name)
        return dict(self._results)

    def _run_and_disconnect(self) -> None:
        try:
            self.run()
        finally:
            connections.close_all()

    def _next_job(self) -> Job | None:
        """The next job, without those that still run from an earlier call."""
        while (job := self._pop()) is not None:
            with _mutex:
                if job.name not in _running:
                    _running.add(job.name)
                    return job
            self._finish(job.name)
        return None

    def _pop(self) -> Job | None:
        with self._mutex:
            return self._waiting.popleft() if self._waiting else None

    def _give_up_waiting(self) -> None:
        while (job := self._pop()) is not None:
            self._finish(job.name)

    def _finish(self, name: str, result: Sequence[Any] = ()) -> None:
        """Note the job's result, or without one its failure, unless the job was given up before."""
        with self._mutex:
            if name not in self._unfinished:
                return
            self._unfinished.discard(name)
            if result:
                self._results[name] = result[0]
            if not self._unfinished:
                self.is_done.set()
        if not result:
            FAILURES.labels(name).inc()
