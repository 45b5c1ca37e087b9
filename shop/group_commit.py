"""Group commit: requests that arrive while a transaction is open wait for the next one, and share it.

The first to arrive at an idle lane leads: it takes everybody who waits, decides for all in one
transaction, commits, hands each its own outcome and passes the lead on. One hot row then costs one lock
and one flush per batch rather than per request. The idea is InnoDB's group commit and flat combining
(Hendler, Incze, Shavit, Tzafrir, SPAA 2010), moved up to where the business decides.

It knows nothing of coupons or orders: a lane is a function `Sequence[request] -> Sequence[outcome]`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from django.db import connection

from shop import transactions
from shop.errors import Overloaded, Unavailable

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")

MAX_BATCH = 256
MAX_WAITING = 5_000
WAIT_SECONDS = 10.0
PENDING = object()


class _Waiter(Generic[Request]):
    """One request in line. `wake` is a lock used as a signal: half the price of an Event."""

    __slots__ = ("has_left", "is_taken", "leads", "outcome", "request", "wake")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.outcome: Any = PENDING
        self.leads = self.is_taken = self.has_left = False
        self.wake = threading.Lock()
        self.wake.acquire()

    def settle(self, outcome: Any) -> None:
        self.outcome = outcome
        self.wake.release()


class Lane(Generic[Request, Outcome]):
    """One line of requests that are decided together.

    `decide` gets the batch in order of arrival, inside one transaction, and returns one outcome for
    each, in the same order; an outcome that is an exception is raised to its caller alone. It may run
    more than once for the same requests, so it must be safe to repeat.
    """

    def __init__(
        self,
        decide: Callable[[Sequence[Request]], Sequence[Outcome | Exception]],
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._decide = decide
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds
        self._mutex = threading.Lock()
        self._line: deque[_Waiter[Request]] = deque()
        self._is_led = False
        self._led_since = 0.0

    def submit(self, request: Request) -> Outcome:
        """Have the request decided, and return its outcome once that is committed.

        Inside a transaction of the caller's it is decided alone, at once, and is as durable as that
        transaction. Raises what the outcome raises; `Overloaded` when the line is full or the wait ran
        out before the request's turn; `Unavailable` when its batch doesn't come back in time: then the
        outcome is unknown, and asking again with the same key or account tells it.
        """
        if connection.in_atomic_block:
            return _result(transactions.run(lambda: self._decided([request]))[0])
        waiter = _Waiter(request)
        self._join(waiter)
        if not waiter.leads:
            self._wait(waiter)
        if waiter.leads:
            self._lead()
        return _result(waiter.outcome)

    def _join(self, waiter: _Waiter[Request]) -> None:
        with self._mutex:
            if len(self._line) >= self._max_waiting:
                raise Overloaded("Too many requests are waiting; nothing was done.")
            self._line.append(waiter)
            if not self._is_led:
                self._hand_lead_to_first()
                waiter.wake.acquire()

    def _hand_lead_to_first(self) -> None:
        """With the mutex held: the first in line leads; with nobody in line the lane is idle."""
        self._is_led = bool(self._line)
        self._led_since = time.monotonic()
        if self._line and not self._line[0].leads:
            self._line[0].leads = True
            self._line[0].wake.release()

    def _wait(self, waiter: _Waiter[Request]) -> None:
        """Wait to lead or for the outcome; no longer than twice `wait_seconds`, whatever the leader does."""
        if waiter.wake.acquire(timeout=self._wait_seconds):
            return
        with self._mutex:
            if not (waiter.leads or waiter.is_taken):
                self._line.remove(waiter)
                self._replace_dead_leader()
                raise Overloaded("The request waited too long for its turn; nothing was done.")
        if not waiter.wake.acquire(timeout=self._wait_seconds):
            waiter.has_left = True
            raise Unavailable("The outcome is not known yet; ask again with the same key.")

    def _replace_dead_leader(self) -> None:
        """With the mutex held: a lead older than a whole wait is taken for dead.

        If it is only slow there are two leaders for a while: slower, not wrong, for the database decides.
        """
        if time.monotonic() - self._led_since >= self._wait_seconds:
            self._hand_lead_to_first()

    def _lead(self) -> None:
        """Decide one batch and pass the lead on, whatever happens on the way."""
        with self._mutex:
            batch = [self._line.popleft() for _ in range(min(self._max_batch, len(self._line)))]
            for waiter in batch:
                waiter.is_taken = True
        try:
            self._settle(batch)
        finally:
            with self._mutex:
                self._hand_lead_to_first()
            for waiter in batch:
                if waiter.outcome is PENDING:
                    waiter.settle(Unavailable("The request was interrupted; ask again."))

    def _settle(self, batch: Sequence[_Waiter[Request]]) -> None:
        """All in one transaction; if that fails, one by one, so that a bad one fails alone."""
        outcomes = self._outcomes([waiter.request for waiter in batch])
        if len(batch) > 1 and _should_split(outcomes):
            for waiter in batch:
                if not waiter.has_left:
                    waiter.settle(self._outcomes([waiter.request])[0])
            return
        for waiter, outcome in zip(batch, outcomes, strict=True):
            waiter.settle(outcome)

    def _outcomes(self, requests: Sequence[Request]) -> Sequence[Any]:
        try:
            return transactions.run(lambda: self._decided(requests))
        except Exception as error:
            return _Failed([error] * len(requests))

    def _decided(self, requests: Sequence[Request]) -> Sequence[Any]:
        outcomes = self._decide(requests)
        if len(outcomes) != len(requests):
            raise RuntimeError(f"{len(requests)} requests got {len(outcomes)} outcomes")
        return outcomes


class _Failed(list[Exception]):
    """The outcomes of a batch whose transaction failed: the same error for each."""


def _should_split(outcomes: Sequence[Any]) -> bool:
    """A failed batch is run one by one, unless the database is away for everybody."""
    return isinstance(outcomes, _Failed) and not isinstance(outcomes[0], transactions.DatabaseAway)


def _result(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
