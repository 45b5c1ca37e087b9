"""What many callers need and one of them reads: the others share its result for a moment."""

import asyncio
import math
import threading
import time
from asyncio import _get_running_loop as running_loop
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakSet

from django.db import DatabaseError
from structlog import get_logger

from foundation.db.transactions import DatabaseUnavailable
from foundation.lazy_texts import mark

Value = TypeVar("Value")
log = get_logger(__name__)
LONGEST_REST_SECONDS = 5.0
"""After a reading that took long, as on a machine that is busy with other things."""
LONGEST_WAIT_SECONDS = 4.0
"""For a reading of another thread."""
RECENT_SHARE = 0.875
"""Of a result's longest age. Later callers wait for the new one: the old may get too old before its use."""


class Reading(NamedTuple, Generic[Value]):
    """What was read; `began_at` is from before the first statement, by the monotonic clock."""

    value: Value
    began_at: float
    is_due_at: float
    """When it is read again."""


class SharedRead(Generic[Value]):
    """The result of `read`, which one thread at a time calls again once `seconds` have passed since its call.

    While it is read again callers get the old result, if that is less than `recent_seconds` old, by default
    `RECENT_SHARE` of `max_age_seconds`; else they wait. While it can't be read they get the old result, if
    that is less than `max_age_seconds` old. With a `share` reading takes no larger share of the time, unless
    that would be a rest longer than `LONGEST_REST_SECONDS`. `name` is for logs.
    """

    def __init__(
        self,
        read: Callable[[], Value],
        *,
        name: str,
        seconds: float,
        max_age_seconds: float | None = None,
        recent_seconds: float | None = None,
        share: float | None = None,
    ) -> None:
        self._read = read
        self._name = name
        self._seconds = seconds
        self._max_age_seconds = seconds if max_age_seconds is None else max_age_seconds
        self._recent_seconds = recent_seconds or RECENT_SHARE * self._max_age_seconds
        self._share = share
        self._mutex = threading.Lock()
        self._last: Reading[Value] | None = None
        # Whether the last read failed: an outage is logged when it begins and when it ends, not per request.
        self._is_failing = False
        self._task: asyncio.Future[Value] | None = None
        # Coroutines that wait for the task.
        self._waiting = 0
        _all.add(self)

    def get(self) -> Value:
        """The result. Raises what `read` raises, and `DatabaseUnavailable` in place of a `DatabaseError`."""
        if known := self.fresh():
            return known.value
        asked_at = time.monotonic()
        if self._mutex.acquire(timeout=0 if self._is_recent() else LONGEST_WAIT_SECONDS):
            try:
                # What was read while this caller waited is good for it, however long that took.
                if not self.fresh() and not self._has_read_since(asked_at):
                    self._read_now()
                if last := self._last:
                    return last.value
            except (DatabaseError, DatabaseUnavailable):
                return self.recent()
            finally:
                self._mutex.release()
        return self.recent()

    def read_newer(self, *, than: float, pause_seconds: float) -> None:
        """Read again, after a pause since the last time, what was read before this monotonic instant."""
        with self._mutex:
            if not self._has_read_since(than):
                time.sleep(max(0.0, pause_seconds - self.age_seconds()))
                self._read_now()

    def read_unless_busy(self) -> None:
        """Read again now, unless another thread is reading."""
        if self._mutex.acquire(blocking=False):
            try:
                self._read_now()
            finally:
                self._mutex.release()

    async def get_on_loop(self, in_thread: Callable[[Callable[[], Value]], Awaitable[Value]]) -> Value:
        """`get` for coroutines: one thread reads for all, and they go on in the order of their calls.

        Raises also what `in_thread` raises, if the call has to wait.
        """
        if (known := self.fresh()) and not self._waiting:
            return known.value
        if running_loop() is None:
            return self.get()
        task = self._task
        if task is None or (task.done() and not self.fresh()):
            task = self._task = asyncio.ensure_future(in_thread(self.get))
            # Otherwise asyncio logs the error of a reading for which no coroutine waits.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._is_recent() and not self._waiting:
            return self.recent()
        self._waiting += 1
        try:
            # Not `wait_for`: the wait of one request may be cancelled, and the others' must not. The wait for
            # a task that is done ends after those that began before.
            await asyncio.wait({task}, timeout=LONGEST_WAIT_SECONDS)
        finally:
            self._waiting -= 1
        return task.result() if task.done() else self.recent()

    def recent(self) -> Value:
        """What was read last, without reading. Raises `DatabaseUnavailable` if it is too old."""
        last = self._last
        if last is None or time.monotonic() - last.began_at >= self._max_age_seconds:
            raise DatabaseUnavailable(mark("The database can't be reached; nothing was done."))
        return last.value

    def fresh(self) -> Reading[Value] | None:
        """What was read last; None once it is due to be read again."""
        last = self._last
        return last if last and time.monotonic() < last.is_due_at else None

    def is_known(self) -> bool:
        """Whether it was ever read."""
        return self._last is not None

    def is_due(self) -> bool:
        """Whether it has to be read again, or coroutines wait for it, which no later one may overtake."""
        return self._waiting > 0 or self.fresh() is None

    def age_seconds(self) -> float:
        return time.monotonic() - self._last.began_at if self._last else float("inf")

    def forget(self) -> None:
        """Have the next call read again, and what was read before used by none."""
        if last := self._last:
            self._last = Reading(last.value, began_at=-math.inf, is_due_at=-math.inf)

    def _is_recent(self) -> bool:
        return self.age_seconds() < self._recent_seconds

    def _has_read_since(self, instant: float) -> bool:
        return self._last is not None and self._last.began_at >= instant

    def _read_now(self) -> None:
        began_at = time.monotonic()
        try:
            value = self._read()
        except (DatabaseError, DatabaseUnavailable) as error:
            if not self._is_failing:
                log.warning(f"{self._name} not read", error=error)
            self._is_failing = True
            raise
        if self._is_failing:
            log.info(f"{self._name} are read again")
        self._is_failing = False
        ended_at = time.monotonic()
        rest_seconds = (ended_at - began_at) * (1 / self._share - 1) if self._share else 0.0
        due_at = max(began_at + self._seconds, ended_at + min(rest_seconds, LONGEST_REST_SECONDS))
        self._last = Reading(value, began_at, due_at)


_all: WeakSet[SharedRead[Any]] = WeakSet()
