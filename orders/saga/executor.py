"""Executes sagas: local steps share transactions, outside calls run concurrently.

A process has one executor. It collects the sagas that are new and those whose call has returned, and
advances them in one transaction (`orders.saga.batch`): a slow call delays only its own saga. Everything is
bounded. `orders.saga.recovery` finds the sagas that a crash left behind.
"""

import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import cache, partial
from uuid import UUID

from django.db import Error
from structlog import get_logger

from orders.models import Saga
from orders.saga import batch, observation, recovery
from orders.saga.batch import Batch
from orders.saga.definitions import (
    DO,
    LEASE_SECONDS,
    SAGA_TYPES,
    UNDO,
    UNFINISHED,
    Attempts,
    OutsideCall,
    OutsideStep,
    SagaRun,
    StepResult,
    call_name,
    unexpected_failure,
)
from orders.saga.pools import PoolTask, ThreadPools
from shop import clock
from shop.db import transactions
from shop.repeated_work import RepeatedWork

logger = get_logger(__name__)
# Slots of runs that are in a batch. There is a batch for new sagas, and one per direction for sagas whose
# call has returned; each has a thread, so that none waits for another.
NEW, RETURNED, SINGLE = "new", "returned", "single"
# The slots of runs whose call is under way: first calls, and those of recovery.
CALLING, RECOVERY = "outside_call", "recovery"
# Sagas that wait for their first batch; beyond it `accept` blocks.
MAX_QUEUED = 500
# Sagas at a local step or a first call. Each has a thread for its call, so that no lease lapses in a queue.
MAX_LEASED = 192
# Repeated calls and compensations, which have as many threads of their own.
MAX_RECOVERING = 16
# The threads of `batch` and `single` use the database: one connection each.
POOL_SIZES = {
    "batch": 3,
    "single": 4,
    CALLING: MAX_LEASED,
    RECOVERY: MAX_RECOVERING,
    "callback": 1,
}
# A batch costs the same statements however few sagas share it, so batches keep a minimum distance.
MIN_INTERVAL_SECONDS = 0.02
# How long an idle executor keeps polling: longer than the pause between two messages.
IDLE_SECONDS = 2.0
# Sagas whose single batch failed: polling doesn't pick these up again.
FAILED_KEPT = 100
# How many callers of `accept` may wait for the queue at a time: half of a worker's threads.
MAX_BLOCKED = 8
# Below the soft time limit of a task.
ACCEPT_SECONDS = 60.0


class Executor:
    """Advances sagas as far as possible; thread-safe. A worker's polls for new ones while it has work."""

    def __init__(
        self,
        *,
        pools: ThreadPools,
        failpoint: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._pools = pools
        self._polls = False
        self._failpoint = failpoint
        self._token = secrets.token_hex(8)
        self._condition = threading.Condition()
        # The fields below need the condition's lock. A saga has one run at most.
        self._runs: dict[UUID, SagaRun] = {}
        self._waiting: dict[str, deque[SagaRun]] = {NEW: deque(), DO: deque(), UNDO: deque()}
        self._in_flight: dict[SagaRun, str] = {}
        self._due: set[str] = set()
        self._failed: deque[UUID] = deque(maxlen=FAILED_KEPT)
        self._blocked = 0
        self._busy_at = float("-inf")

    def accept(self, saga_ids: Iterable[UUID], *, seconds: float = ACCEPT_SECONDS) -> None:
        """Advance these sagas as far as possible; returns once each is leased or turned out not to need it.

        Blocks while the queue is full, at most `seconds`: further sagas are left to recovery.
        """
        ends_at = time.monotonic() + seconds
        runs = []
        for saga_id, kind in recovery.filter_unleased(list(saga_ids)).items():
            run = self._enqueue(saga_id, kind, ends_at)
            if run is None:
                logger.warning("sagas left to recovery: too much to do", saga=str(saga_id))
                break
            runs.append(run)
        for run in runs:
            if not self._pools.wait(run.accepted, ends_at - time.monotonic()):
                return

    def start_polling(self) -> None:
        self._polls = True

    def finish(self, *, seconds: float) -> bool:
        """Accept no more sagas, and wait at most `seconds` for those in progress. True if none is left."""
        ends_at = time.monotonic() + seconds
        with self._condition:
            self._polls = False
            queued = list(self._waiting[NEW])
            self._waiting[NEW].clear()
        self._release_runs(queued)
        while self._runs and time.monotonic() < ends_at:
            time.sleep(MIN_INTERVAL_SECONDS)
        if self._runs:
            logger.warning("sagas left to recovery", count=len(self._runs))
        return not self._runs

    def renew_leases(self) -> None:
        """Renew the leases of the sagas in progress: their calls may take longer than a lease."""
        soon = clock.now() + timedelta(seconds=LEASE_SECONDS * 2 / 3)
        with self._condition:
            sagas = [run.saga for run in self._runs.values() if run.saga]
        ids = [saga.id for saga in sagas if saga.leased_until and saga.leased_until < soon]
        if ids:
            transactions.run(partial(self._renew, ids), transactions.REPEATABLE)

    def _renew(self, saga_ids: Sequence[UUID]) -> None:
        until = clock.now() + timedelta(seconds=LEASE_SECONDS)
        ours = Saga.objects.filter(id__in=saga_ids, lease_token=self._token, state__in=UNFINISHED)
        # A locked row is in a batch, which renews its lease.
        free = set(ours.select_for_update(skip_locked=True).order_by("id").values_list("id", flat=True))
        Saga.objects.filter(id__in=free).update(leased_until=until, next_attempt_at=until)
        with self._condition:
            for run in self._runs.values():
                if run.saga and run.saga_id in free:
                    run.saga.leased_until = until

    def _enqueue(self, saga_id: UUID, kind: str, ends_at: float) -> SagaRun | None:
        """The saga's run, existing or new; None when the queue stays full."""
        with self._condition:
            if saga_id not in self._runs and not self._wait_for_queue(ends_at):
                return None
            if saga_id in self._runs:
                self._runs[saga_id].is_found = False
                return self._runs[saga_id]
            run = self._runs[saga_id] = SagaRun(saga_id, kind=kind)
            self._waiting[NEW].append(run)
        self._schedule(NEW)
        return run

    def _wait_for_queue(self, ends_at: float) -> bool:
        queued = self._waiting[NEW]
        if len(queued) < MAX_QUEUED:
            return True
        # Other tasks of the worker need threads as well.
        if self._blocked >= MAX_BLOCKED:
            return False
        self._blocked += 1
        try:
            return self._condition.wait_for(
                lambda: len(queued) < MAX_QUEUED, max(0.0, ends_at - time.monotonic())
            )
        finally:
            self._blocked -= 1

    def _schedule(self, kind: str) -> None:
        with self._condition:
            has_work = bool(self._waiting[kind])
            if kind == NEW:
                is_polling = self._polls and time.monotonic() - self._busy_at < IDLE_SECONDS
                has_work = (has_work or is_polling) and self._room_for_new() > 0
            if kind in self._due or not has_work:
                return
            self._due.add(kind)
        self._pools.submit("batch", partial(self._run_batch, kind))

    def _run_batch(self, kind: str) -> None:
        """Advance the waiting sagas of this kind: new ones, or one direction's whose calls have returned."""
        began_at = time.monotonic()
        try:
            if kind == NEW:
                self._find_new()
            runs = self._dequeue(kind)
            if runs:
                self._busy_at = began_at
                self._advance_shared(runs, direction=UNDO if kind == UNDO else DO)
            self._pools.pause(began_at + MIN_INTERVAL_SECONDS - time.monotonic())
        finally:
            with self._condition:
                self._due.discard(kind)
            self._schedule(kind)

    def _dequeue(self, kind: str) -> list[SagaRun]:
        """Take the runs that wait for a batch of this kind; of new ones as many as may be leased."""
        with self._condition:
            waiting = self._waiting[kind]
            count = len(waiting) if kind != NEW else max(0, min(len(waiting), self._room_for_new()))
            runs = [waiting.popleft() for _ in range(count)]
            if kind == NEW:
                self._in_flight |= dict.fromkeys(runs, NEW)
                self._condition.notify_all()
        return runs

    def _find_new(self) -> None:
        with self._condition:
            free = self._room_for_new() - len(self._waiting[NEW])
        if free <= 0 or not self._polls:
            return
        try:
            found = recovery.find_new(limit=free)
        except Error as error:
            # The batch reports the same error.
            logger.info("new sagas can't be polled", error=str(error))
            return
        with self._condition:
            for saga in found:
                if saga.id not in self._runs and saga.id not in self._failed:
                    run = self._runs[saga.id] = SagaRun(saga.id, saga, kind=saga.kind, is_found=True)
                    self._waiting[NEW].append(run)

    def _room_for_new(self) -> int:
        """How many more sagas may be leased; those in recovery don't count."""
        return MAX_LEASED - sum(slot != RECOVERY for slot in self._in_flight.values())

    def _advance_shared(self, runs: Sequence[SagaRun], *, direction: str) -> None:
        """Run a batch per saga type, and single batches for types that don't share batches."""
        by_kind: dict[str, list[SagaRun]] = defaultdict(list)
        for run in runs:
            by_kind[run.kind].append(run)
        for kind, same_kind in by_kind.items():
            if SAGA_TYPES[kind].shares_batches:
                self._advance(same_kind, direction=direction)
            else:
                self._run_individually(same_kind)

    def _advance(self, runs: Sequence[SagaRun], *, direction: str = DO, is_single: bool = False) -> None:
        """Run a batch and dispatch its runs. A failed batch is run again saga by saga."""
        with self._releasing(runs) as stack, observation.observe_runs("saga batch", runs):
            try:
                batch_result = batch.advance(
                    runs,
                    token=self._token,
                    free_recovery=self._free_recovery(),
                    direction=direction,
                    is_single=is_single,
                    failpoint=self._failpoint,
                    after_commit=self._submit_callbacks,
                )
            except transactions.DatabaseUnavailable as error:
                # It affects every run of the batch.
                logger.warning("sagas left to recovery", count=len(runs), error=str(error))
                return
            except Exception as error:
                logger.warning("saga batch failed", count=len(runs), is_single=is_single, exc_info=error)
                if is_single:
                    # Polled again at once, it would fail the next batch; recovery enqueues it later.
                    self._failed.extend(run.saga_id for run in runs)
                else:
                    stack.pop_all()
                    self._run_individually(runs)
                return
            stack.pop_all()
        for run in runs:
            run.accepted.set()
        self._dispatch_result(batch_result, is_single=is_single)

    def _releasing(self, runs: Sequence[SagaRun]) -> ExitStack:
        """Release the runs when the block ends, unless it has passed them on and called `pop_all`."""
        stack = ExitStack()
        stack.callback(self._release_runs, runs)
        return stack

    def _dispatch_result(self, batch_result: Batch, *, is_single: bool) -> None:
        # A polled saga that is locked is being taken by another worker.
        self._release_runs(
            [*batch_result.released, *(run for run in batch_result.locked_elsewhere if run.is_found)]
        )
        self._run_individually([run for run in batch_result.locked_elsewhere if not run.is_found])
        if is_single:
            self._run_individually(batch_result.to_continue)
        else:
            self._queue_for_next_batch(batch_result.to_continue)
        for (step, direction), attempts in batch_result.calls.items():
            with self._condition:
                for run, attempt in attempts:
                    self._in_flight[run] = RECOVERY if attempt.is_recovery else CALLING
            self._schedule(NEW)
            self._call(step, direction, attempts)

    def _submit_callbacks(self, callbacks: Sequence[PoolTask]) -> None:
        for callback in callbacks:
            self._pools.submit("callback", callback)

    def _call(self, step: OutsideStep, direction: str, attempts: Attempts) -> None:
        """Submit the calls of these sagas; if preparing them together fails, prepare them one by one."""
        prepare = step.do if direction == DO else step.undo
        assert prepare
        runs = {run.saga_id: run for run, _ in attempts}
        recovered = {attempt.saga.id for _, attempt in attempts if attempt.is_recovery}
        try:
            calls = prepare([attempt for _, attempt in attempts])
        except Exception as error:
            logger.warning("calls could not be prepared", step=step.name, exc_info=error)
            if len(attempts) > 1:
                for single in attempts:
                    self._pools.submit("single", partial(self._call, step, direction, [single]))
            else:
                self._return(step, direction, [*runs.values()], [unexpected_failure(error)])
            return
        for call in calls:
            called = [runs[saga.id] for saga in call.sagas]
            pool = RECOVERY if any(saga.id in recovered for saga in call.sagas) else CALLING
            self._pools.submit(pool, partial(self._make_call, step, direction, call, called))

    def _make_call(
        self, step: OutsideStep, direction: str, call: OutsideCall, runs: Sequence[SagaRun]
    ) -> None:
        name = call_name(step.name, direction)
        with self._releasing(runs) as stack, observation.observe_runs(f"saga step {name}", runs):
            self._failpoint(f"{name} calling")
            try:
                with observation.SECONDS.labels(step.name).time():
                    results: Sequence[StepResult] = call.make()
            except Exception as error:
                logger.warning("call outside failed", call=name, exc_info=error)
                results = [unexpected_failure(error)] * len(runs)
            self._failpoint(f"{name} called")
            self._return(step, direction, runs, results)
            stack.pop_all()

    def _return(
        self, step: OutsideStep, direction: str, runs: Sequence[SagaRun], results: Sequence[StepResult]
    ) -> None:
        """Give these runs the results of their calls, which their next batch records."""
        for run, result in zip(runs, results, strict=True):
            run.step, run.direction, run.result = step.name, direction, result
        self._queue_for_next_batch(runs)

    def _run_individually(self, runs: Sequence[SagaRun]) -> None:
        """Run single batches, concurrently with the shared ones: a lock wait delays no other saga."""
        with self._condition:
            self._in_flight |= dict.fromkeys(runs, SINGLE)
        for run in runs:
            self._pools.submit("single", partial(self._advance, [run], is_single=True))

    def _queue_for_next_batch(self, runs: Sequence[SagaRun]) -> None:
        with self._condition:
            for run in runs:
                self._in_flight[run] = RETURNED
                self._waiting[run.saga.direction if run.saga else DO].append(run)
        for kind in (DO, UNDO, NEW):
            self._schedule(kind)

    def _release_runs(self, runs: Iterable[SagaRun]) -> None:
        """Forget these runs, and wake the callers that wait for them."""
        with self._condition:
            for run in runs:
                self._in_flight.pop(run, None)
                self._runs.pop(run.saga_id, None)
                run.accepted.set()
        self._schedule(NEW)

    def _free_recovery(self) -> int:
        with self._condition:
            return MAX_RECOVERING - sum(slot == RECOVERY for slot in self._in_flight.values())


@cache
def process_executor() -> Executor:
    """This process's executor, created on first use, with a thread that renews its leases."""
    executor = Executor(pools=ThreadPools(POOL_SIZES))
    RepeatedWork(executor.renew_leases, name="saga leases", pause=lambda: LEASE_SECONDS / 3).start()
    return executor
