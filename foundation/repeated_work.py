"""Work that a thread of a process does again and again, whatever happens, or once at a time."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass
from typing import Any

from django.db import connections
from structlog import get_logger

log = get_logger(__name__)
_mutex = threading.Lock()
_runs: dict[str, "Future[Any]"] = {}
"""The last run of each name of `start_once`."""


def start_once(name: str, work: Callable[[], Any]) -> "Future[Any]":
    """Run `work` in a thread of this name; one that still runs isn't started again, and is returned."""
    with _mutex:
        run = _runs.get(name)
        if run is None or run.done():
            run = Future()
            threading.Thread(target=_run_once, args=(run, work), name=name, daemon=True).start()
            _runs[name] = run
        return run


def _run_once(run: "Future[Any]", work: Callable[[], Any]) -> None:
    try:
        try:
            result = work()
        finally:
            connections.close_all()
        run.set_result(result)
    except BaseException as error:
        run.set_exception(error)


@dataclass(eq=False)
class RepeatedWork:
    """Calls `work` in a thread named `name`, after each pause of so many seconds as `pause` returns.

    With `begins_at_once` its first call follows no pause. `pause` may wait by itself for what there is to do,
    and return 0; `at_end` is called by the thread once it is stopped. An error of the work is logged by
    `failing`, the first of several in a row, and the next call does what this one could not.
    """

    work: Callable[[], object]
    _: KW_ONLY
    name: str
    pause: Callable[[], float]
    begins_at_once: bool = False
    at_end: Callable[[], object] = lambda: None
    failing: str = ""

    def __post_init__(self) -> None:
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread unless it runs; a forked process has none yet."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._mutex:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()

    def stop(self, *, within_seconds: float = 0.0) -> None:
        """Have the thread end after its present call, and wait so long for that."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(within_seconds)

    def _run(self) -> None:
        is_failing = False
        is_due = self.begins_at_once
        while is_due or not self._stop.wait(self.pause()):
            is_due = False
            try:
                self.work()
                is_failing = False
            except Exception as error:
                if not is_failing:
                    log.warning(f"{self.failing or f'{self.name} failed'}; trying again", error=error)
                is_failing = True
                connections.close_all()
        self.at_end()
        connections.close_all()
