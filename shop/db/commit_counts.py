"""Counts for metrics of what a transaction did, made once it is known to have committed.

A transaction that is rolled back counts nothing. If the reply to its COMMIT is lost, its counts are kept
until the evidence is read: a row that it alone has written. The retry reads it; where all retries fail, a
thread does after a later transaction of the process. Only what a process had not counted yet when it was
killed is lost.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from structlog import get_logger

log = get_logger(__name__)
Count = Callable[[Sequence[Any]], None]
Evidence = Callable[[], bool]
# A COMMIT without a reply may still be carried out, so a transaction is looked up more than once.
LOOKUP_SECONDS = 600.0
SECONDS_BETWEEN_LOOKUPS = 5.0
LOOKUPS_AT_ONCE = 20
MOST_UNRESOLVED = 1_000


@dataclass(slots=True, eq=False)
class TransactionCounts:
    """What one transaction did, by the functions that count it, and the evidence that it has committed."""

    items: dict[Count, list[Any]] = field(default_factory=dict)
    evidence: Evidence | None = None
    _began_at: float = field(default_factory=time.monotonic)

    def add(self, count: Count, items: Iterable[Any]) -> None:
        """Have `count` get these items, together with all others of the transaction."""
        self.items.setdefault(count, []).extend(items)

    def lengths(self) -> dict[Count, int]:
        """How many items there are now, for `truncate`."""
        return {count: len(items) for count, items in self.items.items()}

    def truncate(self, lengths: dict[Count, int]) -> None:
        """Forget the items that a savepoint added, because it was rolled back."""
        for count, items in self.items.items():
            del items[lengths.get(count, 0) :]

    def make(self) -> None:
        """Make the counts. Never raises: what was committed is not undone by a metric."""
        for count, items in self.items.items():
            try:
                if items:
                    count(items)
            except Exception:
                log.exception("a metric could not be counted", items=len(items))

    def has_committed(self) -> bool:
        """Whether the evidence is there. Without evidence the answer is no."""
        return self.evidence is not None and self.evidence()

    def is_worth_a_lookup(self) -> bool:
        """Whether the COMMIT may still be carried out, or may have been."""
        return self.evidence is not None and time.monotonic() - self._began_at < LOOKUP_SECONDS


class _Unresolved:
    """The counts of transactions of which it is not known whether they have committed."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: deque[TransactionCounts] = deque(maxlen=MOST_UNRESOLVED)
        self._looked_at = float("-inf")
        self._is_looking = False

    def add(self, counts: Iterable[TransactionCounts]) -> None:
        self._waiting.extend(counts)

    def resolve(self) -> None:
        """Have a thread look some of them up, at most once in `SECONDS_BETWEEN_LOOKUPS`.

        Not the caller's thread: its own transaction has committed, and its result waits for no query.
        """
        if not (self._waiting and self._starts_looking()):
            return
        try:
            threading.Thread(target=self._look_up_and_disconnect, name="commit-lookups", daemon=True).start()
        except RuntimeError as error:
            self._is_looking = False
            log.info("no thread looks up lost COMMITs", error=str(error))

    def _starts_looking(self) -> bool:
        with self._mutex:
            if self._is_looking or time.monotonic() - self._looked_at < SECONDS_BETWEEN_LOOKUPS:
                return False
            self._is_looking, self._looked_at = True, time.monotonic()
            return True

    def _look_up_and_disconnect(self) -> None:
        try:
            self._look_up()
        finally:
            connections.close_all()
            self._is_looking = False

    def _look_up(self) -> None:
        for _ in range(min(LOOKUPS_AT_ONCE, len(self._waiting))):
            counts = self._waiting.popleft()
            try:
                has_committed = counts.has_committed()
            except Exception as error:
                # Those behind it would fail as well, or wait for the same database.
                log.info("a lost COMMIT can't be looked up", error=str(error)[:200])
                self._keep(counts)
                return
            if has_committed:
                counts.make()
            else:
                self._keep(counts)

    def _keep(self, counts: TransactionCounts) -> None:
        if counts.is_worth_a_lookup():
            self._waiting.append(counts)


unresolved = _Unresolved()
