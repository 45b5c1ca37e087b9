"""Runs sagas: a loop of batches, and calls of other systems beside them.

A process has one executor. It looks for sagas that are due (`orders.saga.store.find_due`), new or left behind
by a crash, and advances them in one transaction (`orders.saga.batch`). Then it submits their calls, and the
result of each comes back to a queue, whose batch records it: a slow call delays its own saga alone. Messages
and beat only wake it. Everything is bounded.
"""

import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import cache, partial
from typing import Any
from uuid import UUID

from django.db import Error
from structlog import get_logger

from orders.saga import batch, store
from orders.saga.batch import SINGLE, STEP_SECONDS, Batch
from orders.saga.definitions import (
    DO,
    LEASE_SECONDS,
    SAGA_TYPES,
    UNDO,
    UNFINISHED,
    Call,
    OutsideStep,
    SagaRow,
    StepResult,
    call_name,
    unexpected_failure,
)
from shop import clock
from shop.concurrency.thread_pool import ThreadPool
from shop.db import transactions
from shop.errors import Overloaded, Unavailable
from shop.observability import logs, tracing
from shop.repeated_work import RepeatedWork

log = get_logger(__name__)
Task = Callable[[], None]
# Beside the queues of the two directions, in which sagas wait whose call has returned: those to be found.
# Each has a thread for its batches, so that none waits for another.
DUE = "due"
# Sagas at a local step or a first call. Each has a thread for its call, so that no lease lapses in a queue.
MAX_LEASED = 192
# Repeated calls and compensations, which have as many threads of their own.
MAX_RECOVERING = 16
# The threads of `batch` and `single` use the database: one connection each.
POOL_SIZES = {"batch": 3, "single": 4, "outside_call": MAX_LEASED, "recovery": MAX_RECOVERING, "callback": 1}
# What a pool may hold: the executor bounds what it submits.
MAX_WAITING = 100_000
# A batch costs the same statements however few sagas share it, so batches keep a minimum distance.
MIN_INTERVAL_SECONDS = 0.04
# For which a found saga's locked rows are left to their holder, most often another worker's batch.
LOCKED_SECONDS = 1.0
# How long a worker looks for more after it found some: longer than the pause between two messages.
IDLE_SECONDS = 2.0


def ids_of(saga: SagaRow) -> dict[str, Any]:
    """What log lines and spans have of a saga."""
    ids: dict[str, Any] = {"saga": str(saga.id)}
    if saga.about_id:
        ids["order"] = str(saga.about_id)
    if saga.request_id:
        ids["request_id"] = saga.request_id
    # That of the locked order or payment.
    account_id = getattr(saga.parent, "account_id", None)
    return ids | {"account": account_id} if account_id else ids


@contextmanager
def observe(name: str, sagas: Sequence[SagaRow]) -> Iterator[None]:
    """Wrap work for these sagas: its log lines have their ids, its span is a part of the traces of the
    requests that started them, if these are recorded.
    """

    def read_ids() -> dict[str, Any]:
        return logs.merge_ids([ids_of(saga) for saga in sagas])

    attributes = tracing.attributes(read_ids()) if tracing.is_on else None
    with logs.bound_to(read_ids), tracing.shared(name, [saga.traceparent for saga in sagas], attributes):
        yield


def _log_ended(sagas: Iterable[SagaRow]) -> None:
    for saga in sagas:
        if saga.state not in UNFINISHED:
            reason = {"failure_code": saga.failure_code} if saga.failure_code else {}
            with logs.bound_to(partial(ids_of, saga)):
                log.info("saga ended", kind=saga.kind, state=saga.state, **reason)


class ThreadPools:
    """The pools of an executor, by task; recovery does what a task that fails was to do."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._pools = {
            name: ThreadPool(f"saga_{name}", threads=size, max_waiting=MAX_WAITING)
            for name, size in sizes.items()
        }

    def submit(self, pool: str, task: Task) -> None:
        """Run the task in this pool, one of `POOL_SIZES`."""
        try:
            self._pools[pool].start(task)
        except Overloaded:
            # The system has no thread. Nothing would look for this task again: the caller runs it.
            try:
                task()
            except Exception:
                log.exception("a saga task failed; recovery retries it", pool=pool)

    def pause(self, seconds: float) -> None:
        """Sleep, so that more sagas join the next batch."""
        time.sleep(max(0.0, seconds))


class Executor:
    """Advances due sagas as far as possible; thread-safe. One that `polls`, as a worker's does, looks for
    more while it finds some, before their messages come; any other looks when it is woken.
    """

    def __init__(self, *, pools: ThreadPools, failpoint: Callable[[str], None] = lambda point: None) -> None:
        self.polls = False
        self._pools = pools
        self._failpoint = failpoint
        self._token = secrets.token_hex(8)
        self._mutex = threading.RLock()
        # The fields below need the mutex. Of each saga in progress one task has the latest copy.
        self._sagas: dict[UUID, SagaRow] = {}
        self._returned: dict[str, list[SagaRow]] = {DO: [], UNDO: [], DUE: []}
        self._scheduled: set[str] = set()
        self._is_woken = self._is_finishing = False
        self._found_at = float("-inf")

    def wake(self) -> None:
        """Look for sagas that are due, as soon as more may be leased."""
        with self._mutex:
            self._is_woken = True
        self._schedule(DUE)

    def finish(self, *, seconds: float) -> bool:
        """Look for no more sagas, and wait at most `seconds` for those in progress. True if none is left."""
        self._is_finishing = True
        ends_at = time.monotonic() + seconds
        while self._sagas and time.monotonic() < ends_at:
            time.sleep(MIN_INTERVAL_SECONDS)
        if self._sagas:
            log.warning("sagas left to recovery", count=len(self._sagas))
        return not self._sagas

    def renew_leases(self) -> None:
        """Renew the leases of the sagas in progress: their calls may take longer than a lease."""
        now = clock.now()
        soon, until = (now + timedelta(seconds=LEASE_SECONDS * share) for share in (2 / 3, 1))
        with self._mutex:
            sagas = [saga for saga in self._sagas.values() if saga.lease_token == self._token]
        held = [saga.id for saga in sagas if saga.leased_until and saga.leased_until < soon]
        if held:
            renew = partial(store.renew_leases, held, token=self._token, until=until)
            transactions.run(renew, transactions.REPEATABLE)

    # The loop

    def _schedule(self, queue: str) -> None:
        with self._mutex:
            is_polling = self.polls and time.monotonic() - self._found_at < IDLE_SECONDS
            may_find = (self._is_woken or is_polling) and self._room() > 0
            has_work = may_find if queue == DUE else self._returned[queue]
            if queue in self._scheduled or not has_work:
                return
            self._scheduled.add(queue)
        self._pools.submit("batch", partial(self._run_batch, queue))

    def _room(self) -> int:
        """How many more sagas may be leased; those in recovery don't count."""
        left = MAX_LEASED - len(self._sagas) + self._recovering()
        return 0 if self._is_finishing else max(0, left)

    def _recovering(self) -> int:
        calling = [saga.attempt for saga in self._sagas.values() if saga.attempt and not saga.result]
        return sum(attempt.is_recovery for attempt in calling)

    def _run_batch(self, queue: str) -> None:
        began_at = time.monotonic()
        try:
            with self._mutex:
                sagas, self._returned[queue] = self._returned[queue], []
            self._advance_all(self._find() if queue == DUE else sagas, queue)
            self._pools.pause(began_at + MIN_INTERVAL_SECONDS - time.monotonic())
        finally:
            with self._mutex:
                self._scheduled.discard(queue)
            self._schedule(queue)

    def _advance_all(self, sagas: Sequence[SagaRow], queue: str) -> None:
        """Advance these sagas: a batch per type, and single batches for types that share none."""
        by_kind: dict[str, list[SagaRow]] = defaultdict(list)
        for saga in sagas:
            by_kind[saga.kind].append(saga)
        for kind, same_kind in by_kind.items():
            if SAGA_TYPES[kind].shares_batches:
                self._advance(same_kind, UNDO if queue == UNDO else DO)
            else:
                self._run_individually(same_kind)

    def _find(self) -> list[SagaRow]:
        """Sagas that are due and not in progress, as many as may be leased."""
        with self._mutex:
            room, self._is_woken = self._room(), False
            # One whose first batch waits is due as well.
            limit = room + len(self._sagas)
        if not clock.is_measured():
            # By the host's clock others' leases might have lapsed: beat wakes again.
            return []
        try:
            due = transactions.read(partial(store.find_due, limit=limit))
        except (Error, Unavailable) as error:
            log.warning("due sagas can't be read; beat wakes again", error=str(error))
            return []
        with self._mutex:
            found = [saga for saga in due if saga.id not in self._sagas][:room]
            self._sagas |= {saga.id: saga for saga in found}
            # There may be more.
            self._is_woken |= len(found) == room
            if found:
                self._found_at = time.monotonic()
        return found

    def _run_individually(self, sagas: Sequence[SagaRow]) -> None:
        """Run single batches, concurrently with the shared ones: a lock wait delays no other saga."""
        for saga in sagas:
            self._pools.submit("single", partial(self._advance, [saga], SINGLE))

    def _advance(self, sagas: Sequence[SagaRow], mode: str) -> None:
        """Run a batch, and pass its sagas on. A failed batch is run again saga by saga."""
        with self._releasing(sagas) as stack, observe("saga batch", sagas):
            with self._mutex:
                free_recovery = MAX_RECOVERING - self._recovering()
            try:
                done = batch.advance(
                    sagas,
                    token=self._token,
                    free_recovery=free_recovery,
                    mode=mode,
                    failpoint=self._failpoint,
                )
            except transactions.DatabaseUnavailable as error:
                # It affects every saga of the batch, and those that would be found at once: beat wakes again.
                log.warning("sagas left to recovery", count=len(sagas), error=str(error))
                with self._mutex:
                    self._is_woken, self._found_at = False, float("-inf")
                return
            except Exception as error:
                log.warning("saga batch failed", count=len(sagas), mode=mode, exc_info=error)
                if mode == SINGLE:
                    # Found again at once, it would fail again at once.
                    store.set_next_attempt([saga.id for saga in sagas], seconds=LEASE_SECONDS)
                else:
                    stack.pop_all()
                    self._run_individually(sagas)
                return
            _log_ended(done.advanced)
            # Waiting requests must know of these: past the point of no return, ended or at rest.
            news = [each for each in done.rows.values() if each.is_irreversible or not each.lease_token]
            if news and news[0].type.notify:
                self._pools.submit("callback", partial(news[0].type.notify, news))
            self._failpoint(f"batch committed: {', '.join(done.committed) or 'nothing final'}")
            stack.pop_all()
        self._pass_on(done)

    def _releasing(self, sagas: Sequence[SagaRow]) -> ExitStack:
        """Release the sagas when the block ends, unless it has passed them on and called `pop_all`."""
        stack = ExitStack()
        stack.callback(self._release, sagas)
        return stack

    def _pass_on(self, done: Batch) -> None:
        """Pass the sagas of a committed batch on to where they go."""
        calls: dict[OutsideStep, list[SagaRow]] = defaultdict(list)
        together, alone, ended = list[SagaRow](), list[SagaRow](), list[SagaRow]()
        for id, copy in done.copies.items():
            saga = done.rows.get(id)
            if saga is None and done.mode != SINGLE:
                # Locked elsewhere. A single batch would wait for its holder.
                is_old = copy.lease_token or time.monotonic() - copy.found_at > LOCKED_SECONDS
                (alone if is_old else together).append(copy)
            elif saga is None or saga.lease_token != self._token:
                ended.append(copy)
            elif saga.attempt and isinstance(saga.next_step, OutsideStep):
                calls[saga.next_step].append(saga)
            else:
                (alone if done.mode == SINGLE else together).append(saga)
            if saga is not None:
                # The attempt refers to its saga: as a cycle both would wait for the garbage collector.
                copy.attempt = None
        with self._mutex:
            self._sagas |= done.rows
        self._release(ended)
        self._run_individually(alone)
        self._return(together)
        for step, callers in calls.items():
            self._call(step, callers)
        self._schedule(DUE)

    def _release(self, sagas: Iterable[SagaRow]) -> None:
        """Forget these sagas."""
        with self._mutex:
            for saga in sagas:
                self._sagas.pop(saga.id, None)
        self._schedule(DUE)

    # Calls

    def _call(self, step: OutsideStep, sagas: Sequence[SagaRow]) -> None:
        """Submit the calls of these sagas; if preparing them together fails, prepare them one by one."""
        prepare = step.do if sagas[0].direction == DO else step.undo
        assert prepare
        attempts = [saga.attempt for saga in sagas if saga.attempt]
        try:
            calls = prepare(attempts)
        except Exception as error:
            log.warning("calls could not be prepared", step=step.name, exc_info=error)
            if len(sagas) == 1:
                self._return(sagas, unexpected_failure(error))
                return
            for saga in sagas:
                self._pools.submit("single", partial(self._call, step, [saga]))
            return
        for attempt, call in zip(attempts, calls, strict=True):
            pool = "recovery" if attempt.is_recovery else "outside_call"
            self._pools.submit(pool, partial(self._make_call, call, step.name, attempt.saga))

    def _make_call(self, call: Call, step: str, saga: SagaRow) -> None:
        name = call_name(step, saga.direction)
        with self._releasing([saga]) as stack, observe(f"saga step {name}", [saga]):
            self._failpoint(f"{name} calling")
            try:
                with STEP_SECONDS.labels(step).time():
                    result = call()
            except Exception as error:
                log.warning("call outside failed", call=name, exc_info=error)
                result = unexpected_failure(error)
            self._failpoint(f"{name} called")
            self._return([saga], result)
            stack.pop_all()

    def _return(self, sagas: Sequence[SagaRow], result: StepResult | None = None) -> None:
        """Give the sagas to their next batches, which record the result of a call."""
        with self._mutex:
            for saga in sagas:
                saga.result = result or saga.result
                self._returned[saga.direction].append(saga)
        for queue in (DO, UNDO, DUE):
            self._schedule(queue)


@cache
def process_executor() -> Executor:
    """This process's executor, created on first use, with a thread that renews its leases."""
    executor = Executor(pools=ThreadPools(POOL_SIZES))
    RepeatedWork(executor.renew_leases, name="saga leases", pause=lambda: LEASE_SECONDS / 3).start()
    return executor
