"""Group commit: requests that arrive while a transaction is open wait for the next one, and share it.

The first request that enters an idle batcher starts a leader, a thread of a bounded pool. The leader takes
all waiting requests, decides them in one transaction, commits, and passes each its outcome. Then it takes the
next batch, until no request waits. One hot row then costs one lock and one flush per batch rather than per
request (flat combining: Hendler, Incze, Shavit, Tzafrir, SPAA 2010).

A failed batch is halved, again and again, if one of its requests may be the cause. If another transaction
keeps a row locked, the requests that need it go back to the queue until a thread could lock it. If it stays
locked they fail (`foundation.db.stuck_rows`). The others continue.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import Context, copy_context
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from django.db import IntegrityError, connection
from prometheus_client import Counter, Histogram
from structlog import get_logger

from foundation.concurrency.thread_pool import LEADER_POOL, close_unusable_connection
from foundation.db import open_transaction, stuck_rows, transactions
from foundation.db.stuck_rows import Row
from foundation.errors import Overloaded, Unavailable
from foundation.lazy_texts import mark
from foundation.observability import logs, tracing
from foundation.repeated_work import RepeatedWork

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")
T = TypeVar("T")

log = get_logger(__name__)
BLOCKED = Counter(
    "firstcome_requests_blocked", "Requests refused because another transaction kept a row of theirs locked."
)
BATCH_REQUESTS = Histogram(
    "firstcome_batch_requests",
    "Requests that shared a batch.",
    ["batcher"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""The bounds of the buckets of durations."""
BATCH_WAIT = Histogram(
    "firstcome_batch_wait_seconds",
    "How long the first request of a batch waited for its start.",
    ["batcher"],
    buckets=SECONDS,
)
BATCH_SECONDS = Histogram(
    "firstcome_batch_seconds", "How long batches took, their commit included.", ["batcher"], buckets=SECONDS
)
FEW = 4
"""A failed batch of so few requests is decided one by one."""
MAX_BATCH = 256
MAX_WAITING = 5_000
WAIT_SECONDS = 10.0
DEADLINE_CHECK_SECONDS = 0.1
"""The time between two checks of deadlines, while a batcher is busy."""
MOMENT_SECONDS = 0.3
"""A batch waits for a row for so long; its requests four times as long the next time, and so on. Many healthy
transactions may stand in line for a hot row.
"""


@dataclass(slots=True, eq=False)
class _Entry:
    """A request, its caller's context for logs and traces, and its callback, which is None once called.

    `rows` are what it locks, once that was asked.
    """

    request: Any
    on_result: Callable[[Any], object] | None
    rows: frozenset[Row] = frozenset()
    patience_seconds: float = MOMENT_SECONDS
    entered_at: float = field(default_factory=time.monotonic)
    context: Context = field(default_factory=copy_context)


_Batch = Sequence[_Entry]


@dataclass(slots=True, eq=False)
class _Lead:
    """One leader's work at a batcher, and the batch that it decides, if any."""

    batch: _Batch = ()
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[Request, Outcome]):
    """A queue of requests that are decided in batches.

    `decide` gets the batch in order of arrival, inside one transaction, and returns an outcome for each, in
    the same order. An outcome that is an exception is for its request alone. It may run more than once for
    the same requests, so it must find what it did for them before. It runs without the caller's context. The
    `run` of a batcher that only reads is `transactions.read`; one that opens its own transaction has
    `run_without_transaction`. `rows_of` names the rows that a request locks. Without it all requests of a
    batch are assumed to need a row that stays locked.

    A request waits at most `wait_seconds` until its batch starts, and as long again for its outcome.
    `min_interval_seconds` is the least time between the starts of two batches. A leader waits
    `linger_seconds` for the rest of a burst.
    """

    def __init__(
        self,
        decide: Callable[[Sequence[Request]], Sequence[Outcome | Exception]],
        *,
        name: str = "unnamed",
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        wait_seconds: float = WAIT_SECONDS,
        min_interval_seconds: float = 0.0,
        linger_seconds: float = 0.0,
        run: Callable[[Callable[[], Sequence[Any]]], Sequence[Any]] = transactions.run_batch,
        rows_of: Callable[[Request], Iterable[Row]] | None = None,
    ) -> None:
        self._decide = decide
        self._name = name
        self._observe_requests = BATCH_REQUESTS.labels(name).observe
        self._observe_wait = BATCH_WAIT.labels(name).observe
        self._observe_duration = BATCH_SECONDS.labels(name).observe
        self._rows_of = rows_of
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds
        self._min_interval_seconds = min_interval_seconds
        self._linger_seconds = linger_seconds
        self._began_at = float("-inf")
        self._run = run
        self._mutex = threading.Lock()
        # A queue that isn't empty has a lead, unless all its requests need awaited rows.
        self._queue: deque[_Entry] = deque()
        self._lead: _Lead | None = None
        # A task of a thread waits for each.
        self._awaited: set[Row] = set()

    def enter(self, request: Request, on_result: Callable[[Outcome | Exception], object]) -> None:
        """Queue the request, and have its outcome passed to `on_result` once it is committed; never blocks.

        `on_result` is called exactly once, in another thread, and must be quick. It also gets errors:
        `Overloaded` if the wait ended before the request's batch started, and `Unavailable` if its batch
        takes too long. Then a retry with the same key or account finds the outcome. Raises `Overloaded` if
        the queue is full.
        """
        with self._mutex:
            if len(self._queue) >= self._max_waiting:
                raise Overloaded(mark("Too many requests are waiting; nothing was done."))
            self._queue.append(_Entry(request, on_result))
            if self._lead is None:
                try:
                    self._start_lead()
                except Overloaded:
                    self._queue.pop()
                    raise

    def submit(self, request: Request) -> Outcome:
        """Queue the request, and return its outcome once it is committed.

        Inside a transaction of the caller it is decided alone, at once, and is as durable as that
        transaction. Raises what `enter` raises or would pass on.
        """
        if connection.in_atomic_block:
            return _unwrap(self._run(lambda: self._decide_all([request]))[0])
        results: SimpleQueue[Outcome | Exception] = SimpleQueue()
        self.enter(request, results.put)
        return _unwrap(results.get())

    def busy_seconds(self) -> float:
        """How long the current batch, or the wait for a leader or a row, has lasted; 0 if there is none."""
        now = time.monotonic()
        with self._mutex:
            since = self._lead.since if self._lead else now
            return now - min(since, self._queue[0].entered_at if self._awaited and self._queue else now)

    def is_busy(self) -> bool:
        return self._lead is not None or bool(self._queue)

    def end_overdue(self) -> None:
        """End the wait of requests past their deadline.

        A leader whose batch takes longer than a whole wait is assumed to be dead. If it is only slow there
        are two leaders for a while. That is slower but not wrong, because the database decides.
        """
        now = time.monotonic()
        late: list[_Entry] = []
        lost: _Batch = ()
        with self._mutex:
            while self._queue and now - self._queue[0].entered_at >= self._wait_seconds:
                late.append(self._queue.popleft())
            if self._lead and self._lead.batch and now - self._lead.since >= self._wait_seconds:
                lost = self._lead.batch
                self._replace_lead()
        too_late = mark("The request waited too long in the queue; nothing was done.")
        self._answer(late, [Overloaded(too_late) for _entry in late])
        self._answer(lost, [_unknown_outcome_error() for _entry in lost])

    def _start_lead(self) -> None:
        """With the mutex held: start a leader in the pool. Raises `Overloaded` if the pool has no thread."""
        lead = _Lead()
        LEADER_POOL.start(partial(self._run_lead, lead))
        self._lead = lead
        _busy.add(self)
        _became_busy.set()
        _overdue_watch.start()

    def _replace_lead(self) -> None:
        """With the mutex held: end the current lead; a new leader takes over if requests wait."""
        self._lead = None
        if self._queue:
            self._start_lead()

    def _run_lead(self, lead: _Lead) -> None:
        try:
            while batch := self._take_batch(lead):
                taken_at = lead.since
                contexts = [entry.context for entry in batch]
                origins = [context.run(tracing.traceparent) for context in contexts] if tracing.is_on else ()
                attributes = {"firstcome.batch.requests": len(batch)}
                with logs.bound_to_each(contexts), tracing.shared(f"batch {self._name}", origins, attributes):
                    self._decide_batch(batch)
                self._observe_requests(len(batch))
                self._observe_wait(taken_at - batch[0].entered_at)
                self._observe_duration(time.monotonic() - taken_at)
                lead.batch = ()
                lead.since = time.monotonic()
                close_unusable_connection()
                if LEADER_POOL.waiting():
                    # Other batchers have waited for a leader: they go first.
                    LEADER_POOL.start(partial(self._run_lead, lead))
                    return
        except BaseException:
            with self._mutex:
                if self._lead is lead:
                    self._replace_lead()
            self._answer(lead.batch, [_unknown_outcome_error() for _entry in lead.batch])
            raise

    def _take_batch(self, lead: _Lead) -> _Batch:
        if self._linger_seconds or self._min_interval_seconds:
            with self._mutex:
                if self._is_over(lead):
                    return ()
            # Other requests join between batches; an idle batcher's first request doesn't wait.
            if self._linger_seconds:
                time.sleep(self._linger_seconds)
            if self._min_interval_seconds:
                time.sleep(max(0.0, self._began_at + self._min_interval_seconds - time.monotonic()))
                self._began_at = time.monotonic()
        with self._mutex:
            if self._is_over(lead):
                return ()
            awaited = self._awaited
            ready = (one for one in self._queue if not awaited or self._rows(one).isdisjoint(awaited))
            lead.batch = list(islice(ready, self._max_batch))
            lead.since = time.monotonic()
            for entry in lead.batch:
                self._queue.remove(entry)
            if not lead.batch:
                self._lead = None
            return lead.batch

    def _is_over(self, lead: _Lead) -> bool:
        """With the mutex held: whether the lead is over, because it was replaced or no request waits."""
        if self._lead is lead and not self._queue:
            self._lead = None
        return self._lead is not lead

    def _decide_batch(self, batch: _Batch, *, is_retry: bool = False, is_part: bool = False) -> None:
        """Decide all in one transaction; in parts if that fails and one request may be the cause."""
        if stuck_rows.any_known() and not is_retry:
            batch = self._refuse_blocked(batch, stuck_rows.known)
        requests = [entry.request for entry in batch]
        patience = [entry.patience_seconds for entry in batch if self._rows_of]
        open_transaction.state.patience_seconds = max(patience, default=None)
        try:
            outcomes: Sequence[Any] = self._run(lambda: self._decide_all(requests)) if batch else []
        except Exception as error:
            if isinstance(error, transactions.StillLocked):
                for entry in batch:
                    entry.patience_seconds *= 4
                self._decide_batch(self._put_back(batch), is_retry=is_retry, is_part=is_part)
                return
            if isinstance(error, transactions.LockWaitTimeout) and self._rows_of and not is_retry:
                self._decide_batch(self._refuse_blocked(batch, stuck_rows.find), is_retry=True)
                return
            if _may_be_fault_of_one(error, size=len(batch), is_part=is_part):
                self._decide_parts(batch)
                return
            outcomes = [error] if len(batch) == 1 else [copy(error) for _ in batch]
        self._answer(batch, outcomes)

    def _rows(self, entry: _Entry) -> frozenset[Row]:
        if self._rows_of and not entry.rows:
            entry.rows = frozenset(self._rows_of(entry.request))
        return entry.rows

    def _rows_needed(self, batch: Iterable[_Entry]) -> set[Row]:
        return {row for entry in batch for row in self._rows(entry)}

    def _queue_again(self, entries: Iterable[_Entry]) -> None:
        """With the mutex held: put these back into the queue, in the order of arrival, unless answered."""
        due = [entry for entry in entries if entry.on_result]
        self._queue = deque(sorted([*due, *self._queue], key=lambda entry: entry.entered_at))

    def _put_back(self, batch: _Batch) -> _Batch:
        """Put the requests that need a locked row back into the queue; return the others."""
        batch = [entry for entry in batch if entry.on_result]
        locked = set(stuck_rows.in_use(self._rows_needed(batch)))
        with self._mutex:
            unawaited = locked - self._awaited
            self._awaited |= locked
            self._queue_again(entry for entry in batch if not entry.rows.isdisjoint(locked))
        for row in unawaited:
            # Of a group, which leaves threads to lead.
            LEADER_POOL.start(partial(self._await, row), group="rows")
        return [entry for entry in batch if entry.rows.isdisjoint(locked)]

    def _await(self, row: Row) -> None:
        over = {row}
        try:
            if row in self._awaited:
                stuck_rows.find([row], seconds=None)
                with self._mutex:
                    others = self._awaited - over
                # Of many rows most wait for a thread, and may be free long before they have one.
                over |= others.difference(stuck_rows.in_use(others))
        finally:
            with self._mutex:
                self._awaited -= over
                if self._lead is None:
                    self._replace_lead()

    def _refuse_blocked(
        self, batch: Collection[_Entry], find_stuck: Callable[[Collection[Row]], Collection[Row]]
    ) -> _Batch:
        """Refuse the requests that need a row which another transaction keeps locked; return the others."""
        stuck = find_stuck(self._rows_needed(batch))
        blocked = [entry for entry in batch if not entry.rows.isdisjoint(stuck)]
        if blocked:
            with logs.bound_to_each([entry.context for entry in blocked]):
                log.warning("rows stay locked: requests that need them are refused", requests=len(blocked))
            BLOCKED.inc(len(blocked))
            self._answer(
                blocked, [transactions.LockWaitTimeout(transactions.CONFLICT_DETAIL) for _entry in blocked]
            )
        return [entry for entry in batch if entry.on_result]

    def _decide_parts(self, batch: _Batch) -> None:
        """Decide each half in its own transaction, or each request if there are few. Once one of them is put
        back into the queue, so are those behind it.
        """
        size = (len(batch) + 1) // 2 if len(batch) > FEW else 1
        for start in range(0, len(batch), size):
            with self._mutex:
                if start and self._queue and self._queue[0].entered_at < batch[start].entered_at:
                    self._queue_again(batch[start:])
                    return
            part = [entry for entry in batch[start : start + size] if entry.on_result]
            with logs.bound_to_each([entry.context for entry in part]):
                self._decide_batch(part, is_part=True)

    def _decide_all(self, requests: Sequence[Request]) -> Sequence[Any]:
        outcomes = self._decide(requests)
        if len(outcomes) != len(requests):
            raise RuntimeError(f"{len(requests)} requests got {len(outcomes)} outcomes")
        return outcomes

    def _answer(self, entries: _Batch, outcomes: Sequence[Any]) -> None:
        """Pass each entry its outcome, in order, unless it already has one."""
        due = []
        with self._mutex:
            for entry, outcome in zip(entries, outcomes, strict=True):
                if entry.on_result:
                    due.append((entry.on_result, outcome))
                    entry.on_result = None
        for on_result, outcome in due:
            try:
                on_result(outcome)
            except BaseException:
                # Whatever the error, the others of the batch get their outcomes.
                log.exception("the outcome of a request could not be passed on")


def _pause() -> float:
    """Wait while no batcher is busy."""
    _became_busy.clear()
    if not _busy:
        _became_busy.wait()
    return DEADLINE_CHECK_SECONDS


def _end_overdue() -> None:
    for batcher in list(_busy):
        # Before the look: one that becomes busy after that adds itself.
        _busy.discard(batcher)
        try:
            batcher.end_overdue()
        except Exception:
            log.exception("the deadlines of a batcher could not be enforced")
        if batcher.is_busy():
            _busy.add(batcher)


_busy: set[Batcher[Any, Any]] = set()
_became_busy = threading.Event()
_overdue_watch = RepeatedWork(_end_overdue, name="overdue-batches", pause=_pause)


def run_without_transaction(work: Callable[[], T]) -> T:
    """Call `work`, which opens its own transactions or needs none."""
    return work()


def _may_be_fault_of_one(error: Exception, *, size: int, is_part: bool) -> bool:
    """Whether deciding the requests in parts may save some of them. Even a single one is retried after an
    integrity error: another process may have inserted a row between its read and its insert.
    """
    if isinstance(error, Unavailable) and type(error) is not transactions.TooManyConflicts:
        return False
    return size > 1 or (isinstance(error, IntegrityError) and not is_part)


def _unknown_outcome_error() -> Unavailable:
    return Unavailable(mark("The outcome is not known yet; try again with the same key or account."))


def _unwrap(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
