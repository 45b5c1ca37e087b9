"""The shop's processes in a simulated run: web, workers, beats and issuers, and the messages between them."""

from collections.abc import Callable
from concurrent.futures import Executor as Pool, Future
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from celery import Task as CeleryTask
from django.db import connection
from redis import Redis

from coupons import tasks
from coupons.issuing import issuing
from events.feed import sequencing
from events.webhooks import dispatcher, endpoints
from events.webhooks.delivery_pass import LeaseLost
from lab.simulation import faults, issuers
from lab.simulation.determinism import chance
from lab.simulation.redis_server import PAUSE_SECONDS, Server
from lab.simulation.world import Crash, Process, World
from orders import cancellation, tasks as order_tasks
from orders.saga import run as executors, store
from orders.saga.run import Executor, Task as PoolTask, ThreadPools
from sales.waiting_room import admission, room_view, ticking
from shop.concurrency import batching
from shop.operations import dispatch
from shop.redis import redis_client

T = TypeVar("T")
WORKERS, BEATS, ISSUERS = 2, 2, 2
BATCH_SECONDS, BEAT_SECONDS, LEASE_RENEWAL_SECONDS = 0.02, 1.0, 5.0
SHARE_OF_LOST_MESSAGES, SHARE_OF_DOUBLED, SHARE_OF_LATE = 0.05, 0.05, 0.05
SHARE_OF_FAILPOINTS = 0.004
LATE_SECONDS = (1.0, 120.0)
ISSUER_SECONDS = 0.5
ROOM_SECONDS = 2.0
SHARE_OF_SWITCHES, MOST_NESTED = 0.3, 3
"""How often others run while a process waits, and how many may wait within one another."""


class OwnPools(ThreadPools):
    """An executor's tasks, run by the world one at a time."""

    def __init__(self, world: World, process: Process, guarded: Callable[[PoolTask], None]) -> None:
        super().__init__({})
        self._world, self._process, self._guarded = world, process, guarded

    def submit(self, pool: str, task: PoolTask) -> None:
        # The distance of batches is that of their tasks.
        after = BATCH_SECONDS if pool == "batch" else 0.0
        self._world.submit(self._process, pool, partial(self._guarded, task), after=after)

    def pause(self, seconds: float) -> None:
        """Time passes before the tasks."""


class Processes:
    """All processes of the shop, and the broker between them."""

    def __init__(self, world: World) -> None:
        self.world, self.is_faulty = world, True
        self.web, self.clients = Process("web"), Process("clients")
        self.workers = [Process(f"worker-{number}") for number in range(1, WORKERS + 1)]
        self.beats = [Process(f"beat-{number}") for number in range(1, BEATS + 1)]
        self.issuers = [Process(f"issuer-{number}") for number in range(1, ISSUERS + 1)]
        self.redis = Server(world.note)
        self._executors: dict[str, Executor] = {}
        self._nested = 0
        self._present = self.web
        for process in self.workers:
            process.restart = partial(self._start_worker, process)
        for process in self.beats:
            process.restart = partial(self._start_beat, process)
        for process in self.issuers:
            process.restart = partial(self._start_issuer, process)
        self.web.restart = self._start_web
        for process in (*self.workers, *self.beats, *self.issuers, self.web):
            process.restart()
        self._repeat_fault_of_redis()

    def guarded(self, process: Process, task: Callable[[], Any]) -> None:
        """Run the task as the process, with faults by chance; an error is logged, as in the real process."""
        before, self._present = self._present, process
        try:
            if self.is_faulty:
                with faults.by_chance():
                    task()
            else:
                task()
        except Crash:
            raise
        except Exception as error:
            self.world.note(f"{process.name} failed: {type(error).__name__}: {str(error)[:80]}")
        finally:
            self._present = before

    def call(self, answer: Callable[[], None]) -> None:
        """Answer a client's call in the web process; a crash ends the call without an answer."""
        try:
            self.guarded(self.web, answer)
        except Crash:
            self.world.kill(self.web)

    def attempt(self, call: Callable[[Redis], T], *, otherwise: T) -> T:
        """The present process's call of Redis."""
        return self.redis.attempt(self._present.name, call, otherwise)

    def let_others_run(self) -> None:
        """Run a task by chance while the present process waits; raises Crash if that ends it."""
        process, incarnation = self._present, self._present.incarnation
        is_free = self._nested < MOST_NESTED and not connection.in_atomic_block
        if not (is_free and self.is_faulty and chance.random.random() < SHARE_OF_SWITCHES):
            return
        self._nested += 1
        try:
            with faults.suspended():
                # Its own context: what is bound to the waiting request's log lines and actor stays there.
                Context().run(self.world.step)
        finally:
            self._nested -= 1
            self._present = process
        if process.incarnation != incarnation:
            raise Crash

    def executor(self) -> Executor:
        """The executor of the present process."""
        name = self._present.name
        if name not in self._executors:
            pools = OwnPools(self.world, self._present, partial(self.guarded, self._present))
            self._executors[name] = Executor(pools=pools, failpoint=self._failpoint)
        return self._executors[name]

    def enqueue(self, task: "CeleryTask[Any, Any]", *arguments: Any) -> None:
        """Send a message, which may be lost, doubled or late."""
        drawn = chance.random.random() if self.is_faulty else 1.0
        if drawn < SHARE_OF_LOST_MESSAGES:
            self.world.note(f"lost: {task.name}")
            return
        for _ in range(2 if drawn < SHARE_OF_LOST_MESSAGES + SHARE_OF_DOUBLED else 1):
            is_late = self.is_faulty and chance.random.random() < SHARE_OF_LATE
            worker = chance.random.choice(self.workers)
            run = partial(self.guarded, worker, partial(task.run, *arguments))
            after = chance.random.uniform(*LATE_SECONDS) if is_late else 0.0
            self.world.submit(worker, task.name, run, after=after)

    def _failpoint(self, point: str) -> None:
        if self.is_faulty and chance.random.random() < SHARE_OF_FAILPOINTS:
            self.world.note(f"crash at {point}")
            raise Crash

    def _start_worker(self, process: Process) -> None:
        self._executors.pop(process.name, None)
        before, self._present = self._present, process
        self.executor().polls = True
        self._present = before
        self._repeat(process, "leases", LEASE_RENEWAL_SECONDS, lambda: self.executor().renew_leases())
        self._repeat(
            process, "webhooks", BEAT_SECONDS, partial(_deliver, f"{process.name} {process.incarnation}")
        )

    def _start_web(self) -> None:
        """What a web process remembers of campaigns and sales ends with it."""
        issuing.forget()
        room_view.clear()
        self.redis.forget(self.web.name)
        self._repeat(self.web, "waiting rooms", ROOM_SECONDS, ticking.tick)

    def _start_issuer(self, process: Process) -> None:
        self.redis.forget(process.name)
        issuer = f"{process.name} {process.incarnation}"
        self._repeat(process, "queues", ISSUER_SECONDS, partial(issuers.settle_queues, issuer))

    def _repeat_fault_of_redis(self) -> None:
        def again() -> None:
            if self.is_faulty:
                self.world.submit(self.clients, "fault of redis", again, after=self.redis.break_by_chance())

        first = chance.random.uniform(*PAUSE_SECONDS)
        self.world.submit(self.clients, "fault of redis", again, after=first)

    def _start_beat(self, process: Process) -> None:
        self._repeat(process, "orders.advance", BEAT_SECONDS, self._wake_for_due_sagas)
        webhooks_due = order_tasks.handle_webhooks_due
        self._repeat(process, webhooks_due.name, BEAT_SECONDS, webhooks_due.run)
        self._repeat(process, "orders.sweep", 5 * BEAT_SECONDS, cancellation.expire_due)
        self._repeat(process, "sales.sweep", 5 * BEAT_SECONDS, admission.advance_all)
        self._repeat(process, "coupons.sweep", 5 * BEAT_SECONDS, tasks.sweep)

    def _wake_for_due_sagas(self) -> None:
        if store.due().exists():
            self.enqueue(order_tasks.advance)

    def _repeat(self, process: Process, name: str, seconds: float, task: Callable[[], Any]) -> None:
        def again() -> None:
            try:
                self.guarded(process, task)
            finally:
                self.world.submit(process, name, again, after=seconds)

        self.world.submit(process, name, again, after=chance.random.uniform(0, seconds))


class AtOnce(Pool):
    """Runs what is submitted at once, in the caller's thread."""

    def submit(self, work: Callable[..., Any], /, *of: Any, **named: Any) -> Future[Any]:
        future = Future[Any]()
        future.set_result(work(*of, **named))
        return future


def _deliver(worker: str) -> None:
    """What a worker's dispatcher does, without its threads."""
    endpoints.find()
    sequencing.sequence()
    for endpoint_id in list(dispatcher.due_endpoints().values_list("pk", flat=True)):
        with suppress(LeaseLost):
            while dispatcher.deliver_due(endpoint_id, worker, pool=AtOnce()):
                pass
        dispatcher.release(endpoint_id, worker)


def join(processes: Processes) -> None:
    """Have the shop's code use this run's executors and messages, and no threads."""
    executors.process_executor = processes.executor  # type: ignore[assignment]
    dispatch.enqueue = processes.enqueue
    redis_client.attempt = processes.attempt
    redis_client.client = lambda: processes.redis.client
    issuers.join(processes.let_others_run)
    batching.Batcher.submit = _decide_alone  # type: ignore[method-assign, assignment]


def _decide_alone(batcher: "batching.Batcher[Any, Any]", request: Any) -> Any:
    """Decide the request in a batch of its own, because no leader's thread runs."""
    return batching._unwrap(batcher._run(lambda: batcher._decide_all([request]))[0])
