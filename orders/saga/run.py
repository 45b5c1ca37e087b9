"""Runs sagas: a loop of batches, and calls of other systems beside them.

A process has one executor. Its loop takes the sagas that are new and those whose call has returned, and
advances them in one transaction (`orders.saga.batch`). Then it submits their calls, and the result of each
comes back to the queue: a slow call delays its own saga alone. Sagas that a crash left behind come back by
the same way (`orders.saga.store.due`). Everything is bounded.
"""

import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import cache, partial
from uuid import UUID

from django.db import Error
from structlog import get_logger

from orders.saga import batch, observation, store
from orders.saga.batch import Batch
from orders.saga.definitions import (
    DO,
    LEASE_SECONDS,
    SAGA_TYPES,
    UNDO,
    Attempt,
    Call,
    OutsideStep,
    SagaRun,
    StepResult,
    call_name,
    unexpected_failure,
)
from shop import clock
from shop.concurrency.thread_pool import ThreadPool
from shop.db import transactions
from shop.errors import Overloaded
from shop.repeated_work import RepeatedWork

logger = get_logger(__name__)
Task = Callable[[], None]
# The queues, each with a thread for its batches so that none waits for another: new sagas, and for each
# direction those whose call has returned.
NEW = "new"
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
    "outside_call": MAX_LEASED,
    "recovery": MAX_RECOVERING,
    "callback": 1,
}
# What a pool may hold: the executor bounds what it submits.
MAX_WAITING = 100_000
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


class ThreadPools:
    """The pools of an executor, by kind of task; recovery does what a task that fails was to do."""

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
                logger.exception("a saga task failed; recovery retries it", pool=pool)

    def pause(self, seconds: float) -> None:
        """Sleep, so that more sagas join the next batch."""
        time.sleep(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the event, at most `seconds`. Returns whether it is set."""
        return event.wait(max(0.0, seconds))


class Executor:
    """Advances sagas as far as possible; thread-safe. A worker's polls for new ones while it has work."""

    def __init__(self, *, pools: ThreadPools, failpoint: Callable[[str], None] = lambda point: None) -> None:
        self._pools = pools
        self._polls = False
        self._failpoint = failpoint
        self._token = secrets.token_hex(8)
        self._condition = threading.Condition()
        # The fields below need the condition's lock. A saga has one run at most.
        self._runs: dict[UUID, SagaRun] = {}
        self._waiting: dict[str, deque[SagaRun]] = {NEW: deque(), DO: deque(), UNDO: deque()}
        self._scheduled: set[str] = set()
        self._failed: deque[UUID] = deque(maxlen=FAILED_KEPT)
        self._blocked = 0
        self._busy_at = float("-inf")

    # Sagas come in

    def accept(self, saga_ids: Iterable[UUID], *, seconds: float = ACCEPT_SECONDS) -> None:
        """Advance these sagas as far as possible; returns once each is leased or turned out not to need it.

        Blocks while the queue is full, at most `seconds`: further sagas are left to recovery.
        """
        ends_at = time.monotonic() + seconds
        runs = []
        for saga_id, kind in store.filter_unleased(list(saga_ids)).items():
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
        self._release(queued)
        while self._runs and time.monotonic() < ends_at:
            time.sleep(MIN_INTERVAL_SECONDS)
        if self._runs:
            logger.warning("sagas left to recovery", count=len(self._runs))
        return not self._runs

    def renew_leases(self) -> None:
        """Renew the leases of the sagas in progress: their calls may take longer than a lease."""
        now = clock.now()
        soon, until = (now + timedelta(seconds=LEASE_SECONDS * share) for share in (2 / 3, 1))
        with self._condition:
            sagas = [run.saga for run in self._runs.values() if run.saga]
        held = {saga.id: saga for saga in sagas if saga.leased_until and saga.leased_until < soon}
        if held:
            renew = partial(store.renew_leases, held, token=self._token, until=until)
            for saga_id in transactions.run(renew, transactions.REPEATABLE):
                held[saga_id].leased_until = until

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

    def _find_new(self) -> None:
        with self._condition:
            free = self._room_for_new() - len(self._waiting[NEW])
        if free <= 0 or not self._polls:
            return
        try:
            found = store.find_new(limit=free)
        except Error as error:
            # The batch reports the same error.
            logger.info("new sagas can't be polled", error=str(error))
            return
        with self._condition:
            for saga in found:
                if saga.id not in self._runs and saga.id not in self._failed:
                    run = self._runs[saga.id] = SagaRun(saga.id, saga, kind=saga.kind, is_found=True)
                    self._waiting[NEW].append(run)

    # The loop

    def _schedule(self, queue: str) -> None:
        with self._condition:
            has_work = bool(self._waiting[queue])
            if queue == NEW:
                is_polling = self._polls and time.monotonic() - self._busy_at < IDLE_SECONDS
                has_work = (has_work or is_polling) and self._room_for_new() > 0
            if queue in self._scheduled or not has_work:
                return
            self._scheduled.add(queue)
        self._pools.submit("batch", partial(self._run_batch, queue))

    def _run_batch(self, queue: str) -> None:
        """Advance the sagas of this queue: a batch per type, and single batches for types that share none."""
        began_at = time.monotonic()
        try:
            if queue == NEW:
                self._find_new()
            runs = self._dequeue(queue)
            by_kind: dict[str, list[SagaRun]] = defaultdict(list)
            for run in runs:
                self._busy_at = began_at
                by_kind[run.kind].append(run)
            for kind, same_kind in by_kind.items():
                if SAGA_TYPES[kind].shares_batches:
                    self._advance(same_kind, direction=UNDO if queue == UNDO else DO)
                else:
                    self._run_individually(same_kind)
            self._pools.pause(began_at + MIN_INTERVAL_SECONDS - time.monotonic())
        finally:
            with self._condition:
                self._scheduled.discard(queue)
            self._schedule(queue)

    def _dequeue(self, queue: str) -> list[SagaRun]:
        """Take the runs that wait in this queue; of new ones as many as may be leased."""
        with self._condition:
            waiting = self._waiting[queue]
            count = len(waiting) if queue != NEW else max(0, min(len(waiting), self._room_for_new()))
            runs = [waiting.popleft() for _ in range(count)]
            self._condition.notify_all()
        return runs

    def _room_for_new(self) -> int:
        """How many more sagas may be leased; those in recovery don't count."""
        return MAX_LEASED - len(self._runs) + len(self._waiting[NEW]) + self._recovering()

    def _recovering(self) -> int:
        return sum(run.is_recovered for run in self._runs.values())

    def _run_individually(self, runs: Sequence[SagaRun]) -> None:
        """Run single batches, concurrently with the shared ones: a lock wait delays no other saga."""
        for run in runs:
            self._pools.submit("single", partial(self._advance, [run], is_single=True))

    def _advance(self, runs: Sequence[SagaRun], *, direction: str = DO, is_single: bool = False) -> None:
        """Run a batch, and pass its runs on. A failed batch is run again saga by saga."""
        with self._releasing(runs) as stack, observation.observe_runs("saga batch", runs):
            with self._condition:
                free_recovery = MAX_RECOVERING - self._recovering()
            try:
                done = batch.advance(
                    runs,
                    token=self._token,
                    free_recovery=free_recovery,
                    direction=direction,
                    is_single=is_single,
                    failpoint=self._failpoint,
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
            if done.news and (notify := done.news[0].type.notify):
                self._pools.submit("callback", partial(notify, done.news))
            self._failpoint(f"batch committed: {', '.join(done.committed) or 'nothing final'}")
            stack.pop_all()
        for run in runs:
            run.accepted.set()
        self._pass_on(done, is_single=is_single)

    def _releasing(self, runs: Sequence[SagaRun]) -> ExitStack:
        """Release the runs when the block ends, unless it has passed them on and called `pop_all`."""
        stack = ExitStack()
        stack.callback(self._release, runs)
        return stack

    def _pass_on(self, done: Batch, *, is_single: bool) -> None:
        """Pass the runs of a committed batch on to where they go."""
        # A polled saga that is locked is being taken by another worker.
        self._release([*done.released, *(run for run in done.locked_elsewhere if run.is_found)])
        self._run_individually([run for run in done.locked_elsewhere if not run.is_found])
        if is_single:
            self._run_individually(done.to_continue)
        else:
            self._return(done.to_continue)
        for (step, direction), attempts in done.calls.items():
            for run, attempt in attempts:
                run.is_recovered = attempt.is_recovery
            self._schedule(NEW)
            self._call(step, direction, attempts)

    def _release(self, runs: Iterable[SagaRun]) -> None:
        """Forget these runs, and wake the callers that wait for them."""
        with self._condition:
            for run in runs:
                self._runs.pop(run.saga_id, None)
                run.accepted.set()
        self._schedule(NEW)

    # Calls

    def _call(self, step: OutsideStep, direction: str, attempts: Sequence[tuple[SagaRun, Attempt]]) -> None:
        """Submit the calls of these sagas; if preparing them together fails, prepare them one by one."""
        prepare = step.do if direction == DO else step.undo
        assert prepare
        try:
            calls = prepare([attempt for _, attempt in attempts])
        except Exception as error:
            logger.warning("calls could not be prepared", step=step.name, exc_info=error)
            if len(attempts) > 1:
                for single in attempts:
                    self._pools.submit("single", partial(self._call, step, direction, [single]))
            else:
                self._return_result(step, direction, attempts[0][0], unexpected_failure(error))
            return
        for (run, attempt), call in zip(attempts, calls, strict=True):
            pool = "recovery" if attempt.is_recovery else "outside_call"
            self._pools.submit(pool, partial(self._make_call, step, direction, call, run))

    def _make_call(self, step: OutsideStep, direction: str, call: Call, run: SagaRun) -> None:
        name = call_name(step.name, direction)
        with self._releasing([run]) as stack, observation.observe_runs(f"saga step {name}", [run]):
            self._failpoint(f"{name} calling")
            try:
                with observation.SECONDS.labels(step.name).time():
                    result = call()
            except Exception as error:
                logger.warning("call outside failed", call=name, exc_info=error)
                result = unexpected_failure(error)
            self._failpoint(f"{name} called")
            self._return_result(step, direction, run, result)
            stack.pop_all()

    def _return_result(self, step: OutsideStep, direction: str, run: SagaRun, result: StepResult) -> None:
        """Give the run the result of its call, which its next batch records."""
        run.step, run.direction, run.result, run.is_recovered = step.name, direction, result, False
        self._return([run])

    def _return(self, runs: Sequence[SagaRun]) -> None:
        with self._condition:
            for run in runs:
                self._waiting[run.saga.direction if run.saga else DO].append(run)
        for queue in (DO, UNDO, NEW):
            self._schedule(queue)


@cache
def process_executor() -> Executor:
    """This process's executor, created on first use, with a thread that renews its leases."""
    executor = Executor(pools=ThreadPools(POOL_SIZES))
    RepeatedWork(executor.renew_leases, name="saga leases", pause=lambda: LEASE_SECONDS / 3).start()
    return executor
