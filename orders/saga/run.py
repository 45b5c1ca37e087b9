"""Runs sagas: a loop of batches, and calls of other systems beside them.

A process has one executor. It looks for sagas that are due (`orders.saga.rows.find_due`), new or left behind
by a crash, and advances them in one transaction (`orders.saga.batch`). Then it submits their calls. The
result of each comes back to a queue, whose batch records it: a slow call delays its own saga alone. Messages
and instants only wake the executor. Everything is bounded. A saga in progress has a place, and each class
of work has a share of the places that another's arrivals can't take.

The executor of a web process looks for due sagas only while the broker is away. It leases new sagas in the
transaction that inserts them, as long as it has places. It advances them once that has committed. What it
doesn't finish is due for the workers.
"""

import secrets
import threading
import time
from collections import Counter as Tally, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import cache, partial
from uuid import UUID

from django.conf import settings
from django.db import Error, transaction
from structlog import get_logger

from foundation import clock
from foundation.concurrency.thread_pool import ThreadPool
from foundation.db import open_transaction, transactions
from foundation.errors import Overloaded, Unavailable
from foundation.observability import logs, tracing
from foundation.repeated_work import RepeatedWork
from orders.saga import batch, progress, rows as saga_rows
from orders.saga.batch import SINGLE, STEP_SECONDS, Batch
from orders.saga.definitions import (
    DO,
    LEASE_SECONDS,
    NO_PLACE,
    OF_WEB,
    UNDO,
    UNFINISHED,
    Call,
    OutsideStep,
    SagaRow,
    Sagas,
    WorkClass,
    call_name,
    unexpected_failure,
)

log = get_logger(__name__)
Task = Callable[[], None]
# The queues: sagas to be found, those whose call has returned, by direction, and refunds apart. Each has a
# thread for its batches, so that none waits for another.
DUE = "due"
REFUNDS = "refunds"
QUEUES = (DO, UNDO, REFUNDS, DUE)
# The places of a web server, for the payments that its processes begin.
WEB_PLACES = min(48, settings.WEB_PAYMENTS)
# The places of each class of work. What one doesn't use another may, but for the next few.
SHARES: dict[str, int] = {
    WorkClass.NEW: 96 - WEB_PLACES,
    WorkClass.AGAIN: 48,
    WorkClass.REFUND: 32,
    WorkClass.RECOVERY: 32,
}
KEPT_FREE = 8
# Each place has a thread for its call, so that no lease lapses in a queue. Those of `batch` and `single`
# use the database: one connection each.
POOL_SIZES = {"batch": len(QUEUES), "single": 3, "outside_call": sum(SHARES.values()), "callback": 1}
# What a pool may hold: the executor bounds what it submits.
MAX_WAITING = 100_000
# A batch costs the same statements however few sagas share it, so batches keep a minimum distance.
MIN_INTERVAL_SECONDS = 0.04
# A found saga's locked rows are left to their holder for this long: most often another worker's batch.
LOCKED_SECONDS = 1.0
# How long a worker looks for more after it found some: longer than the pause between two messages.
IDLE_SECONDS = 2.0
# Sagas that are not done by then are left to others.
SHUTDOWN_SECONDS = 5.0
# A worker looks again after this, though no saga was known to be due by then.
MOST_PAUSE_SECONDS = 1.0
# A saga past its deadline that finds no place for this long becomes stuck; so many at a time.
LATE_SECONDS = 3 * LEASE_SECONDS
LATE_AT_ONCE = 100


def ids_of(saga: SagaRow) -> logs.Ids:
    """The fields of a saga in log lines and spans."""
    ids: logs.Ids = {"saga": str(saga.id)}
    if saga.about_id:
        ids["order"] = str(saga.about_id)
    if saga.request_id:
        ids["request_id"] = saga.request_id
    # That of the locked order or payment.
    account_id = getattr(saga.parent, "account_id", None)
    return ids | {"account": account_id} if account_id else ids


@contextmanager
def observe(name: str, sagas: Sagas) -> Iterator[None]:
    """Wrap work for these sagas. Its log lines have their ids, and its span is a part of the traces of the
    requests that started them.
    """

    def read_ids() -> logs.Ids:
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
    """The pools of an executor, by task. Recovery does what a failed task was to do."""

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
    """Advances due sagas as far as possible; thread-safe. An executor that `polls`, as a worker's does, looks
    for more sagas while it finds some, before their messages come. Any other looks when it is woken.
    """

    def __init__(self, *, pools: ThreadPools, failpoint: Callable[[str], None] = lambda point: None) -> None:
        self.polls = False
        # For sagas that this process begins.
        self.new_places = 0
        self._pools = pools
        self._failpoint = failpoint
        self._token = secrets.token_hex(8)
        self._mutex = threading.RLock()
        # The fields below need the mutex. Of each saga in progress one task has the latest copy.
        self._sagas: dict[UUID, SagaRow] = {}
        self._returned: dict[str, list[SagaRow]] = {queue: [] for queue in QUEUES}
        self._scheduled: set[str] = set()
        # The classes of which there may be more than were found.
        self._waiting: set[str] = set()
        self._is_finishing = False
        self._found_at = float("-inf")
        self._pause_seconds = MOST_PAUSE_SECONDS

    def wake(self) -> None:
        """Look for sagas that are due, as soon as there is a place for more."""
        with self._mutex:
            self._waiting |= SHARES.keys()
        self._schedule(DUE)

    def lease_new(self, sagas: Sagas) -> list[SagaRow]:
        """Lease those of these sagas that begin with a call, as many as there are places, and return them.
        Called inside the transaction that is to insert them. Once that has committed this executor advances
        them.
        """
        if not clock.is_measured():
            return []
        with self._mutex:
            places = 0 if self._is_finishing else max(0, self.new_places - len(self._sagas))
            leased = [saga for saga in sagas if isinstance(saga.next_step, OutsideStep)][:places]
            for saga in leased:
                saga.found_as = saga.work_class
                self._sagas[saga.id] = saga
        if leased:
            open_transaction.on_rollback(partial(self._release, leased))
            # Not `partial`, which has no name for Django's log.
            transaction.on_commit(lambda: self._begin(leased), robust=True)
            batch.open_first_calls(leased, token=self._token)
        return leased

    def _begin(self, sagas: Sagas) -> None:
        """Advance these new sagas, whose transaction has committed, but those whose leases have lapsed."""
        with self._releasing(sagas) as stack:
            self._failpoint("new sagas committed")
            now = clock.now()
            begun = [saga for saga in sagas if saga.is_leased(now)]
            self._go_on(begun)
            stack.pop_all()
        self._release([saga for saga in sagas if saga not in begun])

    def has(self, saga_id: UUID) -> bool:
        """Whether the saga is in progress here: its end, or its rest, is still to be told."""
        return saga_id in self._sagas

    def watch(self) -> None:
        """Renew the leases that end soon. One that polls also looks whether a saga is due."""
        self.renew_leases()
        if self.polls and clock.is_measured():
            self.look()

    def look(self) -> None:
        """Wake if a saga is due. Those past their deadline that had no place for long become stuck."""
        next_at = transactions.read(saga_rows.next_attempt_at)
        left_seconds = (next_at - clock.now()).total_seconds() if next_at else MOST_PAUSE_SECONDS
        self._pause_seconds = max(MIN_INTERVAL_SECONDS, min(left_seconds, MOST_PAUSE_SECONDS))
        if not transactions.read(saga_rows.is_any_due):
            return
        with self._mutex:
            full = self._waiting - self._findable().keys()
        if full:
            since = clock.now() - timedelta(seconds=LATE_SECONDS)
            find = partial(saga_rows.find_late, full, since=since, limit=LATE_AT_ONCE)
            late = transactions.read(find)
            if late:
                batch.put_off(late, NO_PLACE, token=self._token)
        self.wake()

    def seconds_to_next_watch(self) -> float:
        """Until the next saga is due, as far as it was known at the last look; a second at most."""
        return self._pause_seconds

    def finish(self, *, seconds: float) -> bool:
        """Look for no more sagas, and wait at most `seconds` for those in progress. True if none is left."""
        with self._mutex:
            self._is_finishing = True
        ends_at = time.monotonic() + seconds
        while self._sagas and time.monotonic() < ends_at:
            time.sleep(MIN_INTERVAL_SECONDS)
        if self._sagas:
            log.warning("sagas left to recovery", count=len(self._sagas))
        return not self._sagas

    def renew_leases(self) -> None:
        """Renew the leases of the sagas in progress: their calls may take longer than a lease."""
        until = clock.now() + timedelta(seconds=LEASE_SECONDS)
        soon = until - timedelta(seconds=LEASE_SECONDS / 3)
        with self._mutex:
            sagas = [saga for saga in self._sagas.values() if saga.lease_token == self._token]
        # Other processes take a lease for lapsed that ends later than any can: the clock was set back.
        held = []
        for saga in sagas:
            if saga.leased_until and not soon <= saga.leased_until <= until:
                held.append(saga.id)
        if held:
            renew = partial(saga_rows.renew_leases, held, token=self._token, until=until)
            transactions.run(renew, transactions.REPEATABLE)

    # The loop

    def _schedule(self, queue: str) -> None:
        with self._mutex:
            if queue in self._scheduled or not (self._findable() if queue == DUE else self._returned[queue]):
                return
            self._scheduled.add(queue)
        self._pools.submit("batch", partial(self._run_batch, queue))

    def _findable(self) -> dict[str, int]:
        """The classes to look for, and how many places each may take."""
        is_polling = self.polls and time.monotonic() - self._found_at < IDLE_SECONDS
        if self._is_finishing or not (is_polling or self._waiting):
            return {}
        free = progress.free_places(self._taken(), SHARES, KEPT_FREE)
        return {name: more for name, more in free.items() if more and (is_polling or name in self._waiting)}

    def _taken(self) -> Tally[str]:
        return Tally([saga.found_as for saga in self._sagas.values()])

    def _run_batch(self, queue: str) -> None:
        began_at = time.monotonic()
        try:
            with self._mutex:
                sagas = self._returned[queue]
                self._returned[queue] = []
            if queue == DUE:
                found = self._find()
                refunds = [saga for saga in found if saga.type.work_class == WorkClass.REFUND]
                self._return(refunds)
                sagas = [saga for saga in found if saga not in refunds]
            # A batch for each type.
            by_kind: dict[str, list[SagaRow]] = defaultdict(list)
            for saga in sagas:
                by_kind[saga.kind].append(saga)
            for same_kind in by_kind.values():
                self._advance(same_kind, UNDO if queue == UNDO else DO)
            self._pools.pause(began_at + MIN_INTERVAL_SECONDS - time.monotonic())
        finally:
            with self._mutex:
                self._scheduled.discard(queue)
            self._schedule(queue)

    def _find(self) -> list[SagaRow]:
        """Sagas that are due and not in progress, for whom there are places."""
        with self._mutex:
            findable = self._findable()
            taken = self._taken()
            self._waiting -= findable.keys()
            # One whose first batch waits is due as well.
            limits = {name: more + taken[name] for name, more in findable.items()}
        if not (limits and clock.is_measured()):
            # Leases of others might have lapsed by the host's clock. The next look wakes again.
            return []
        try:
            due = transactions.read(partial(saga_rows.find_due, limits))
        except (Error, Unavailable) as error:
            log.warning("due sagas can't be read; the next look wakes again", error=error)
            return []
        with self._mutex:
            if self._is_finishing:
                return []
            found = list[SagaRow]()
            taken = self._taken()
            read = Tally([saga.work_class for saga in due])
            self._waiting |= {name for name, limit in limits.items() if read[name] == limit}
            free = progress.free_places(taken, SHARES, KEPT_FREE)
            for saga in due:
                if saga.id in self._sagas:
                    continue
                if len(read) > 1:
                    # What one class took another can't.
                    free = progress.free_places(taken, SHARES, KEPT_FREE)
                if not free[saga.work_class]:
                    self._waiting.add(saga.work_class)
                    continue
                taken[saga.work_class] += 1
                free[saga.work_class] -= 1
                self._sagas[saga.id] = saga
                found.append(saga)
            if found:
                self._found_at = time.monotonic()
        return found

    def _run_individually(self, sagas: Sagas) -> None:
        """Run single batches, concurrently with the shared ones: a lock wait delays no other saga."""
        for saga in sagas:
            self._pools.submit("single", partial(self._advance, [saga], SINGLE))

    def _advance(self, sagas: Sagas, mode: str) -> None:
        """Run a batch, and pass its sagas on. A failed batch is run again saga by saga."""
        with self._releasing(sagas) as stack, observe("saga batch", sagas):
            try:
                done = batch.advance(sagas, token=self._token, mode=mode, failpoint=self._failpoint)
            except transactions.DatabaseUnavailable as error:
                # The error affects every saga of the batch, and those that would be found at once. The next
                # look wakes again.
                log.warning("sagas left to recovery", count=len(sagas), error=error)
                with self._mutex:
                    self._waiting.clear()
                    self._found_at = float("-inf")
                return
            except Exception as error:
                log.warning("saga batch failed", count=len(sagas), mode=mode, exc_info=error)
                if mode == SINGLE:
                    # A saga that is found again at once would fail again at once.
                    failure = unexpected_failure(error)
                    batch.put_off(sagas, failure, token=self._token, seconds=LEASE_SECONDS)
                else:
                    stack.pop_all()
                    self._run_individually(sagas)
                return
            _log_ended(done.advanced)
            self._failpoint(f"batch committed: {', '.join(done.committed) or 'nothing final'}")
            stack.pop_all()
        self._pass_on(done)
        # Waiting requests must know of these sagas: past the point of no return, ended or at rest. A request
        # that begins to wait for one in progress is notified after this.
        news = [each for each in done.rows.values() if each.is_irreversible or not each.lease_token]
        if news and news[0].type.notify:
            self._pools.submit("callback", partial(news[0].type.notify, news))

    def _releasing(self, sagas: Sagas) -> ExitStack:
        """Release the sagas when the block ends, unless it has passed them on and called `pop_all`."""
        stack = ExitStack()
        stack.callback(self._release, sagas)
        return stack

    def _pass_on(self, done: Batch) -> None:
        """Pass the sagas of a committed batch on to where they go."""
        going_on = list[SagaRow]()
        together = list[SagaRow]()
        alone = list[SagaRow]()
        ended = list[SagaRow]()
        for id, copy in done.copies.items():
            saga = done.rows.get(id)
            if saga is None and done.mode != SINGLE:
                # Locked elsewhere. A single batch would wait for its holder.
                is_old = copy.lease_token or time.monotonic() - copy.found_at > LOCKED_SECONDS
                (alone if is_old else together).append(copy)
            elif saga is None or saga.lease_token != self._token:
                ended.append(copy)
            elif saga.is_calling or done.mode != SINGLE:
                going_on.append(saga)
            else:
                alone.append(saga)
        with self._mutex:
            self._sagas |= done.rows
        self._release(ended)
        self._run_individually(alone)
        self._return(together)
        self._go_on(going_on)
        self._schedule(DUE)

    def _go_on(self, sagas: Iterable[SagaRow]) -> None:
        """Have these leased sagas make their calls, or join their next batches."""
        calls: dict[OutsideStep, list[SagaRow]] = defaultdict(list)
        together = list[SagaRow]()
        for saga in sagas:
            if saga.is_calling and isinstance(saga.next_step, OutsideStep):
                calls[saga.next_step].append(saga)
            else:
                together.append(saga)
        self._return(together)
        for step, callers in calls.items():
            self._call(step, callers)

    def _release(self, sagas: Iterable[SagaRow]) -> None:
        """Forget these sagas."""
        with self._mutex:
            for saga in sagas:
                self._sagas.pop(saga.id, None)
        self._schedule(DUE)

    # Calls

    def _call(self, step: OutsideStep, sagas: Sagas) -> None:
        """Submit the calls of these sagas; if preparing them together fails, prepare them one by one."""
        prepare = step.do if sagas[0].direction == DO else step.undo
        assert prepare
        try:
            calls = prepare(sagas)
        except Exception as error:
            log.warning("calls could not be prepared", step=step.name, exc_info=error)
            if len(sagas) == 1:
                sagas[0].result = unexpected_failure(error)
                self._return(sagas)
                return
            for saga in sagas:
                self._pools.submit("single", partial(self._call, step, [saga]))
            return
        for saga, call in zip(sagas, calls, strict=True):
            self._pools.submit("outside_call", partial(self._make_call, call, step.name, saga))

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
            saga.result = result
            if result.answer is None:
                self._return([saga])
            else:
                # What the step books is locked in the order of a batch of its own.
                self._run_individually([saga])
            stack.pop_all()

    def _return(self, sagas: Sagas) -> None:
        """Give the sagas to their next batches, which record the results of their calls."""
        if not sagas:
            return
        with self._mutex:
            for saga in sagas:
                is_refund = saga.type.work_class == WorkClass.REFUND
                self._returned[REFUNDS if is_refund else saga.direction].append(saga)
        for queue in QUEUES:
            self._schedule(queue)


def start_leasing() -> None:
    """Have this process, one of those of a web server, lease the sagas that it begins."""
    executor = process_executor()
    executor._token = f"{OF_WEB}{executor._token}"
    executor.new_places = WEB_PLACES // settings.WEB_WORKERS


def finish() -> None:
    """Wait for the sagas in progress in this process, because it is about to exit."""
    process_executor().finish(seconds=SHUTDOWN_SECONDS)


def stop_leasing() -> None:
    """Leave new sagas to the workers, because this process is about to exit."""
    process_executor().new_places = 0


@cache
def process_executor() -> Executor:
    """This process's executor, created on first use, with the thread that watches it."""
    executor = Executor(pools=ThreadPools(POOL_SIZES))
    RepeatedWork(executor.watch, name="saga watch", pause=executor.seconds_to_next_watch).start()
    return executor
