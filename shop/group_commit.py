"""Group commit: requests that arrive while a transaction is open wait for the next one, and share it.

The first to arrive at an idle lane leads: it takes everybody who waits, decides for all in one
transaction, commits, hands each its own outcome and passes the lead on. One hot row then costs one lock
and one flush per batch rather than per request. The idea is InnoDB's group commit and flat combining
(Hendler, Incze, Shavit, Tzafrir, SPAA 2010), moved up to where the business decides.

It knows nothing of coupons or orders: a lane is a function `Sequence[request] -> Sequence[outcome]`. A batch
that fails is split only where one of its requests may be to blame. When a row stays locked the lane's
`blocked` finds the requests that need it: these fail, and the others go on.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from copy import copy
from functools import partial
from typing import Any, Generic, TypeVar

from django.db import IntegrityError, connection
from prometheus_client import Counter
from structlog import get_logger

from shop import transactions
from shop.errors import Overloaded, Unavailable

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")

log = get_logger(__name__)
BLOCKED = Counter(
    "firstcome_requests_blocked", "Requests refused because another transaction kept a row of theirs locked."
)
MAX_BATCH = 256
MAX_WAITING = 5_000
WAIT_SECONDS = 10.0
PENDING = object()
# How many of a batch are woken at once; each wakes another on its way out. Woken all at once they would
# crowd before the interpreter's lock, the next leader among them, and twice as much time went into that.
ABREAST = 2
# A request counts as blocked when its rows are locked each time of so many: rows that others lock for some
# milliseconds at a time are not to blame.
PROBES = 3
PROBE_PAUSE_SECONDS = 0.05
# For so long after a lock wait that ran out batches are probed before they are decided: clients repeat what
# failed, and each repetition would stop the lane for another lock wait.
PROBE_AFTER_LOCK_WAIT_SECONDS = 30.0


class _Waiter(Generic[Request]):
    """One request in line. `wake` is a lock used as a signal: half the price of an Event.

    Once it has its outcome it wakes `follower`. Nobody counts on one that `is_gone` for that.
    """

    __slots__ = ("follower", "has_left", "is_gone", "is_taken", "outcome", "request", "wake")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.outcome: Any = PENDING
        self.is_taken = self.has_left = self.is_gone = False
        self.follower: _Waiter[Request] | None = None
        self.wake = threading.Lock()
        self.wake.acquire()

    def signal(self) -> None:
        """Have it look again. Signals don't add up: one that is not heeded yet is enough."""
        with contextlib.suppress(RuntimeError):
            self.wake.release()

    def settle(self, outcome: Any) -> None:
        self.outcome = outcome
        self.signal()


class Lane(Generic[Request, Outcome]):
    """One line of requests that are decided together.

    `decide` gets the batch in order of arrival, inside one transaction, and returns one outcome for
    each, in the same order; an outcome that is an exception is raised to its caller alone. It may run
    more than once for the same requests, so it must find what it did for them. A lane that only reads needs
    no transaction: `run` is `transactions.read` then, and `transactions.as_it_is` for one that opens its own,
    by `transactions.run_batch`. `blocked` says of each request whether another transaction keeps a row of it
    locked; without it all of a batch count as needing the locked row.
    Some batches are so quick that hardly anybody would share one: `pace_seconds` is what each begins after
    the last one at least. Where requests come in bursts a leader waits `linger_seconds` for the rest of its
    burst.
    """

    def __init__(
        self,
        decide: Callable[[Sequence[Request]], Sequence[Outcome | Exception]],
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        wait_seconds: float = WAIT_SECONDS,
        pace_seconds: float = 0.0,
        linger_seconds: float = 0.0,
        run: Callable[[Callable[[], Sequence[Any]]], Sequence[Any]] = transactions.run_batch,
        blocked: Callable[[Sequence[Request]], Sequence[bool]] | None = None,
    ) -> None:
        self._decide = decide
        self._blocked = blocked
        self._wary_until = float("-inf")
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds
        self._pace_seconds = pace_seconds
        self._linger_seconds = linger_seconds
        self._began_at = float("-inf")
        self._run = run
        self._mutex = threading.Lock()
        self._line: deque[_Waiter[Request]] = deque()
        self._leader: _Waiter[Request] | None = None
        self._led_since = 0.0

    def submit(self, request: Request) -> Outcome:
        """Have the request decided, and return its outcome once that is committed.

        Inside a transaction of the caller's it is decided alone, at once, and is as durable as that
        transaction. Raises what the outcome raises; `Overloaded` when the line is full or the wait ran
        out before the request's turn; `Unavailable` when its batch doesn't come back in time: then the
        outcome is unknown, and asking again with the same key or account tells it.
        """
        if connection.in_atomic_block:
            return _result(self._run(lambda: self._decided([request]))[0])
        waiter = _Waiter(request)
        self._join(waiter)
        try:
            self._wait(waiter)
            if self._leader is waiter:
                self._lead(waiter)
        finally:
            # Whatever happens to this thread, the others are woken, and the lead goes on.
            self._wake_follower(waiter)
            self._leave(waiter)
        return _result(waiter.outcome)

    def busy_seconds(self) -> float:
        """For how long the one who leads now has done so; 0 while nobody does."""
        return time.monotonic() - self._led_since if self._leader else 0.0

    def _join(self, waiter: _Waiter[Request]) -> None:
        with self._mutex:
            if len(self._line) >= self._max_waiting:
                raise Overloaded("Too many requests are waiting; nothing was done.")
            self._line.append(waiter)
            if self._leader is None:
                self._give_lead_to(waiter)
            else:
                self._replace_dead_leader()

    def _wait(self, waiter: _Waiter[Request]) -> None:
        """Return once it leads or has its outcome; at most `wait_seconds` for its turn and as long after."""
        if self._is_called(waiter):
            return
        if self._leave(waiter):
            raise Overloaded("The request waited too long for its turn; nothing was done.")
        if not self._is_called(waiter):
            waiter.has_left = True
            raise _unknown()

    def _is_called(self, waiter: _Waiter[Request]) -> bool:
        """Wait until it leads or has its outcome; False when `wait_seconds` were not enough."""
        deadline = time.monotonic() + self._wait_seconds
        while self._leader is not waiter and waiter.outcome is PENDING:
            if not waiter.wake.acquire(timeout=max(0.0, deadline - time.monotonic())):
                return False
        return True

    def _leave(self, waiter: _Waiter[Request]) -> bool:
        """Step out of line, and pass the lead on. True when nobody had taken the request: it is not done."""
        if waiter.has_left or (waiter.is_taken and self._leader is not waiter):
            return False
        with self._mutex:
            if not waiter.is_taken:
                self._line.remove(waiter)
                waiter.has_left = True
            if self._leader is waiter:
                self._give_lead_to(self._line[0] if self._line else None)
            else:
                self._replace_dead_leader()
            return waiter.has_left

    def _give_lead_to(self, waiter: _Waiter[Request] | None) -> None:
        """With the mutex held. Nobody leads an empty line."""
        self._leader = waiter
        self._led_since = time.monotonic()
        if waiter:
            waiter.signal()

    def _replace_dead_leader(self) -> None:
        """With the mutex held: a lead older than a whole wait is taken for dead.

        If it is only slow there are two leaders for a batch: slower, not wrong, for the database decides.
        """
        is_dead = time.monotonic() - self._led_since >= self._wait_seconds
        others = (waiter for waiter in self._line if waiter is not self._leader)
        if is_dead and (successor := next(others, None)):
            if self._leader:
                self._leader.is_gone = True
            self._give_lead_to(successor)

    def _lead(self, leader: _Waiter[Request]) -> None:
        """Decide batches up to that of its own request: the first, unless it follows a dead leader."""
        self._keep_pace()
        while batch := self._take_batch(leader):
            try:
                self._settle(batch)
            finally:
                for waiter in batch:
                    if waiter.outcome is PENDING:
                        waiter.settle(_unknown())

    def _keep_pace(self) -> None:
        """Let others join where batches follow each other; who comes to an idle lane doesn't wait."""
        if self._linger_seconds:
            time.sleep(self._linger_seconds)
        if self._pace_seconds:
            time.sleep(max(0.0, self._began_at + self._pace_seconds - time.monotonic()))
            self._began_at = time.monotonic()

    def _take_batch(self, leader: _Waiter[Request]) -> list[_Waiter[Request]]:
        """The next in line; nobody once the leader's own request is taken."""
        with self._mutex:
            if leader.is_taken:
                return []
            batch = [self._line.popleft() for _ in range(min(self._max_batch, len(self._line)))]
            for waiter in batch:
                waiter.is_taken = True
            return batch

    def _settle(self, batch: Sequence[_Waiter[Request]], *, is_again: bool = False) -> None:
        """All in one transaction; if one of them may be to blame that it fails, one by one."""
        if time.monotonic() < self._wary_until and not is_again:
            batch = self._refuse_blocked(batch)
        requests = [waiter.request for waiter in batch]
        try:
            outcomes: Sequence[Any] = self._run(lambda: self._decided(requests)) if batch else []
        except Exception as error:
            if isinstance(error, transactions.LockWaitTimeout) and self._blocked and not is_again:
                self._wary_until = time.monotonic() + PROBE_AFTER_LOCK_WAIT_SECONDS
                self._settle(self._refuse_blocked(batch), is_again=True)
                return
            if _may_be_ones_fault(error, size=len(batch)):
                self._settle_one_by_one(batch)
                return
            outcomes = [error] if len(batch) == 1 else [copy(error) for _ in batch]
        self._tell(batch, outcomes)

    def _refuse_blocked(self, batch: Collection[_Waiter[Request]]) -> list[_Waiter[Request]]:
        """Refuse those whose rows another transaction keeps locked; returns the others."""
        blocked = self._probe(batch)
        if blocked:
            log.warning("rows stay locked: requests that need them are refused", requests=len(blocked))
            BLOCKED.inc(len(blocked))
            self._tell(blocked, [_locked() for _ in blocked])
        return [waiter for waiter in batch if waiter.outcome is PENDING]

    def _probe(self, batch: Collection[_Waiter[Request]]) -> list[_Waiter[Request]]:
        """Those whose rows `blocked` finds locked at each probe."""
        suspects = list(batch) if self._blocked else []
        for probe in range(PROBES):
            if not (suspects and self._blocked):
                break
            if probe:
                time.sleep(PROBE_PAUSE_SECONDS)
            try:
                verdicts = transactions.read(partial(self._blocked, [one.request for one in suspects]))
            except Unavailable:
                return []  # deciding finds out that the database is away, and says so
            suspects = [one for one, is_blocked in zip(suspects, verdicts, strict=True) if is_blocked]
        return suspects

    def _tell(self, batch: Sequence[_Waiter[Request]], outcomes: Sequence[Any]) -> None:
        """Give all of them their outcomes at once, and wake the first."""
        with self._mutex:
            gone = [waiter for waiter in batch if waiter.is_gone]
            here = [waiter for waiter in batch if not waiter.is_gone]
            for waiter, follower in zip(here, here[ABREAST:], strict=False):
                waiter.follower = follower
            # From the back: who sees an outcome, unsignalled, wakes a follower that sees its own.
            for waiter, outcome in zip(reversed(batch), reversed(outcomes), strict=True):
                waiter.outcome = outcome
        for waiter in (*here[:ABREAST], *gone):
            waiter.signal()

    def _wake_follower(self, waiter: _Waiter[Request]) -> None:
        if waiter.outcome is PENDING:
            # It goes without: whoever tells its batch must not count on it any more.
            with self._mutex:
                waiter.is_gone = waiter.outcome is PENDING
        if waiter.follower:
            waiter.follower.signal()

    def _settle_one_by_one(self, batch: Sequence[_Waiter[Request]]) -> None:
        left = deque(batch)
        while left:
            waiter = left.popleft()
            if waiter.has_left:
                continue
            outcome = self._decided_alone(waiter.request)
            waiter.settle(outcome)
            if isinstance(outcome, transactions.LockWaitTimeout):
                left = deque(self._refuse_blocked(left))

    def _decided_alone(self, request: Request) -> Any:
        try:
            return self._run(lambda: self._decided([request]))[0]
        except Exception as error:
            return error

    def _decided(self, requests: Sequence[Request]) -> Sequence[Any]:
        outcomes = self._decide(requests)
        if len(outcomes) != len(requests):
            raise RuntimeError(f"{len(requests)} requests got {len(outcomes)} outcomes")
        return outcomes


def _may_be_ones_fault(error: Exception, *, size: int) -> bool:
    """Whether deciding the requests one by one may save some of them.

    What is away is away for all. Of a single request another process's row may have slipped in between the
    look and the insert: then it looks again.
    """
    if isinstance(error, Unavailable) and type(error) is not transactions.TooManyConflicts:
        return False
    return size > 1 or isinstance(error, IntegrityError)


def _locked() -> transactions.LockWaitTimeout:
    return transactions.LockWaitTimeout(transactions.CONFLICTING)


def _unknown() -> Unavailable:
    return Unavailable("The outcome is not known yet; ask again with the same key or account.")


def _result(outcome: Any) -> Any:
    if outcome is PENDING:
        raise _unknown()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
