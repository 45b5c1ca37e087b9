"""Rows that a process remembers for a moment, so that its calls need no query for them.

The first request after `refresh_after_seconds` reads them again, while the others use what is remembered;
what is older than `max_age_seconds` is used for no request at all.
"""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from django.db import DatabaseError
from structlog import get_logger

from shop.concurrency.group_commit import Batcher, run_without_transaction
from shop.concurrency.thread_pool import ThreadPool
from shop.db.transactions import DatabaseUnavailable
from shop.lazy_texts import mark as _

log = get_logger(__name__)
NEVER = float("-inf")
SHORTEST_PAUSE_SECONDS = 0.1
"""Between two readings for requests whose row is not known."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Reading(Generic[Value]):
    """What was read; `read_at` is from before the first statement, by the monotonic clock."""

    value: Value
    read_at: float

    def age(self) -> float:
        return time.monotonic() - self.read_at


class RememberedRows(Generic[Value]):
    """What `read` returns, at most `max_age_seconds` old; `name` names it in logs and metrics.

    Concurrent requests that need a refresh share it by `refresher`, in the thread of `leader_pool`. `nothing`
    stands for rows that were never read, and is used for no request.
    """

    def __init__(
        self,
        read: Callable[[], Value],
        *,
        name: str,
        nothing: Value,
        refresh_after_seconds: float,
        max_age_seconds: float,
        leader_pool: ThreadPool,
    ) -> None:
        self._read = read
        self._name = name
        self._nothing = nothing
        self._refresh_after_seconds = refresh_after_seconds
        self._max_age_seconds = max_age_seconds
        self._reading = Reading(nothing, NEVER)
        # Whether the last read failed: an outage is logged when it begins and when it ends, not per request.
        self._is_failing = False
        self._mutex = threading.Lock()
        shared = partial(
            Batcher[None, None],
            run=run_without_transaction,
            max_batch=sys.maxsize,
            wait_seconds=max_age_seconds,
            leader_pool=leader_pool,
        )
        self.refresher = shared(self._refresh_for_batch, name=name.replace(" ", "_"))
        self.newer_reader = shared(self._read_newer_for_batch, name=f"newer_{name.replace(' ', '_')}")
        """Reads what was committed before the request came: for a row that is not among those remembered."""

    def recent(self) -> Value:
        """What is remembered, without a query. Raises `DatabaseUnavailable` if it is too old."""
        return self._require_recent(self._reading)

    def is_refresh_due(self) -> bool:
        """Whether this request should refresh: one at a time, or every one if it is too old."""
        age = self._reading.age()
        return age >= self._max_age_seconds or (
            age >= self._refresh_after_seconds and not self.refresher.is_busy()
        )

    def refresh(self) -> None:
        """Read again if it is due. Raises `DatabaseUnavailable` if that fails and the rows are too old.

        One thread reads; the others use what is remembered meanwhile.
        """
        age = self._reading.age()
        if age < self._refresh_after_seconds:
            return
        must_wait = age >= self._max_age_seconds
        if not self._mutex.acquire(timeout=self._max_age_seconds / 2 if must_wait else 0):
            self._require_recent(self._reading)
            return
        try:
            if self._reading.age() >= self._refresh_after_seconds:
                self._read_again()
        except DatabaseError:
            self._require_recent(self._reading)
        finally:
            self._mutex.release()

    def forget(self) -> None:
        """Have the next call read again."""
        self._reading = Reading(self._nothing, NEVER)

    def _refresh_for_batch(self, requests: Sequence[None]) -> Sequence[None]:
        self.refresh()
        return requests

    def _read_newer_for_batch(self, requests: Sequence[None]) -> Sequence[None]:
        """Read again after `SHORTEST_PAUSE_SECONDS` at least: anyone may ask for unknown rows."""
        began_at = time.monotonic()
        time.sleep(max(0.0, SHORTEST_PAUSE_SECONDS - self._reading.age()))
        with self._mutex:
            if self._reading.read_at < began_at:
                self._read_again()
        return requests

    def _read_again(self) -> None:
        """With the mutex held. Logs the first of failures in a row, and that they have ended."""
        started_at = time.monotonic()
        try:
            self._reading = Reading(self._read(), started_at)
        except DatabaseError as error:
            if not self._is_failing:
                log.warning(f"{self._name} not read", error=str(error)[:200])
            self._is_failing = True
            raise
        if self._is_failing:
            log.info(f"{self._name} are read again")
        self._is_failing = False

    def _require_recent(self, reading: Reading[Value]) -> Value:
        if reading.age() >= self._max_age_seconds:
            raise DatabaseUnavailable(_("The database can't be reached; nothing was done."))
        return reading.value
