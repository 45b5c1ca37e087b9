"""The shop's processes in a simulated run: web, workers, beats and issuers, and the messages between them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor as Pool, Future
from contextlib import suppress
from contextvars import Context
from functools import partial, wraps
from typing import Any, TypeVar

from celery import Task as CeleryTask
from django.db import connection
from redis import Redis

from coupons import gate, pool_list, tasks
from coupons.issuing import issuing
from coupons.queue import stream, worker
from events.feed import sequencing
from events.webhooks import dispatcher, endpoints
from events.webhooks.delivery_pass import LeaseLost
from lab.simulation import faults
from lab.simulation.chance import chance
from lab.simulation.faults import Crash
from lab.simulation.redis_server import PAUSE_SECONDS, Server
from lab.simulation.world import Process, World
from orders import cancellation, tasks as order_tasks
from orders.saga import run as executors, store
from orders.saga.run import Executor, Task as PoolTask, ThreadPools
from sales.waiting_room import admission, room_view, ticking
from shop.concurrency import batching, thread_pool
from shop.operations import dispatch
from shop.redis import redis_client

T = TypeVar("T")
EACH = 2
"""Workers, beats and issuers."""
BATCH_SECONDS = 0.02
SHARE_OF_LOST_MESSAGES, SHARE_OF_DOUBLED, SHARE_OF_LATE = 0.05, 0.05, 0.05
SHARE_OF_FAILPOINTS = 0.004
LATE_SECONDS = (1.0, 120.0)
SHARE_OF_SWITCHES, MOST_NESTED = 0.3, 3
"""How often others run while a process waits, and how many may wait within one another."""
MOST_TICKETS = 4
"""Few, so that other processes work between two batches of a queue."""
WAITS: tuple[tuple[Any, str], ...] = (
    (gate, "admit"),
    (pool_list, "claim_code"),
    (pool_list, "resolve_code"),
    (stream, "enqueue"),
    (stream, "read"),
    (stream, "remove"),
)
"""Calls of Redis that a request or an issuer makes without a lock: after each, others may run."""
USUAL = {(module, name): getattr(module, name) for module, name in WAITS}


class OwnPools(ThreadPools):
    """An executor's tasks, run by the world one at a time."""

    def __init__(self, processes: "Processes", process: Process) -> None:
        super().__init__({})
        self._submit = partial(processes.submit, process)

    def submit(self, pool: str, task: PoolTask) -> None:
        # The distance of batches is that of their tasks.
        self._submit(pool, task, after=BATCH_SECONDS if pool == "batch" else 0.0)

    def pause(self, seconds: float) -> None:
        """Time passes before the tasks."""


class AtOnce(Pool):
    """In the place of a pool of threads: runs what is submitted at once, in the caller's thread."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """It has no threads."""

    def submit(self, work: Callable[..., Any], /, *of: Any, **named: Any) -> Future[Any]:
        future = Future[Any]()
        future.set_result(work(*of, **named))
        return future


class Processes:
    """All processes of the shop, the broker and Redis between them, and what happens outside of the shop."""

    def __init__(self) -> None:
        self.world = World()
        self.redis = Server(self.world.note)
        self._outside, self._web = Process("clients"), Process("web", self._start)
        self._workers, self._beats, self._issuers = (
            [Process(f"{kind}-{number}", self._start) for number in range(1, EACH + 1)]
            for kind in ("worker", "beat", "issuer")
        )
        self._executors: dict[str, Executor] = {}
        self._nested, self._present = 0, self._web

    def start(self) -> None:
        """Have the shop's code use this run's executors, messages, Redis and no threads, and begin faults."""
        executors.process_executor = self._executor  # type: ignore[assignment]
        dispatch.enqueue = self.enqueue
        redis_client.attempt = self._attempt
        redis_client.client = lambda: self.redis.client
        setattr(thread_pool, "ThreadPoolExecutor", AtOnce)  # noqa: B010 - mypy takes it for a type
        batching.Batcher.submit = _decide_alone  # type: ignore[method-assign, assignment]
        for module, name in WAITS:
            setattr(module, name, self._waiting(USUAL[module, name]))
        chance.is_faulty = True
        for process in (*self._workers, *self._beats, *self._issuers, self._web):
            self._start(process)
        self.happen("fault of redis", self._break_redis, *PAUSE_SECONDS)

    def end_faults(self) -> None:
        chance.is_faulty, self.redis.server.connected = False, True

    def happen(self, name: str, run: Callable[[], None], *between: float) -> None:
        """Have something outside of the shop happen, after so many seconds."""
        self.world.submit(self._outside, name, run, after=chance.uniform(*between))

    def submit(self, process: Process, name: str, task: Callable[[], Any], *, after: float = 0.0) -> None:
        """Have the process do the task."""
        self.world.submit(process, name, partial(self._guarded, process, task), after=after)

    def call(self, answer: Callable[[], None]) -> None:
        """Answer a call in the web process; a crash ends it without an answer."""
        try:
            self._guarded(self._web, answer)
        except Crash:
            self.world.kill(self._web)

    def enqueue(self, task: "CeleryTask[Any, Any]", *arguments: Any) -> None:
        """Send a message, which may be lost, doubled or late."""
        drawn = chance.draw()
        if drawn < SHARE_OF_LOST_MESSAGES:
            self.world.note(f"lost: {task.name}")
            return
        for _ in range(2 if drawn < SHARE_OF_LOST_MESSAGES + SHARE_OF_DOUBLED else 1):
            is_late = chance.draw() < SHARE_OF_LATE
            to = chance.choice(self._workers)
            after = chance.uniform(*LATE_SECONDS) if is_late else 0.0
            self.submit(to, task.name, partial(task.run, *arguments), after=after)

    def let_others_run(self) -> None:
        """Run a task by chance while the present process waits; raises Crash if that ends it."""
        process, incarnation = self._present, self._present.incarnation
        is_free = self._nested < MOST_NESTED and not connection.in_atomic_block
        if not (is_free and chance.draw() < SHARE_OF_SWITCHES):
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

    def _guarded(self, process: Process, task: Callable[[], Any]) -> None:
        """Run the task as the process, with faults by chance; an error is logged, as in the real process."""
        before, self._present = self._present, process
        try:
            with faults.by_chance():
                task()
        except Exception as error:
            self.world.note(f"{process.name} failed: {type(error).__name__}: {str(error)[:80]}")
        finally:
            self._present = before

    def _attempt(self, call: Callable[[Redis], T], *, otherwise: T) -> T:
        return self.redis.attempt(self._present.name, call, otherwise)

    def _waiting(self, call: Callable[..., T]) -> Callable[..., T]:
        @wraps(call)
        def called(*arguments: Any, **named: Any) -> T:
            result = call(*arguments, **named)
            self.let_others_run()
            return result

        return called

    def _executor(self) -> Executor:
        """The executor of the present process; a worker's polls."""
        process = self._present
        if process.name not in self._executors:
            executor = Executor(pools=OwnPools(self, process), failpoint=self._failpoint)
            executor.polls = process in self._workers
            self._executors[process.name] = executor
        return self._executors[process.name]

    def _failpoint(self, point: str) -> None:
        if chance.draw() < SHARE_OF_FAILPOINTS:
            self.world.note(f"crash at {point}")
            raise Crash

    def _start(self, process: Process) -> None:
        """Start it, or start it again: what it remembered of sagas, Redis, campaigns and sales is gone."""
        self._executors.pop(process.name, None)
        self.redis.breakers.pop(process.name, None)
        name, handle = f"{process.name} {process.incarnation}", order_tasks.handle_webhooks_due
        repeated: Sequence[tuple[str, float, Callable[[], Any]]] = [("queues", 0.5, partial(_settle, name))]
        if process is self._web:
            issuing.forget()
            room_view.clear()
            repeated = [("waiting rooms", 2.0, ticking.tick)]
        elif process in self._workers:
            before, self._present = self._present, process
            self._executor()
            self._present = before
            repeated = [
                ("leases", 5.0, lambda: self._executor().renew_leases()),
                ("webhooks", 1.0, partial(_deliver, name)),
            ]
        elif process in self._beats:
            repeated = [
                ("orders.advance", 1.0, self._wake_for_due_sagas),
                (handle.name, 1.0, handle.run),
                ("orders.sweep", 5.0, cancellation.expire_due),
                ("sales.sweep", 5.0, admission.advance_all),
                ("coupons.sweep", 5.0, tasks.sweep),
            ]
        for each in repeated:
            self._repeat(process, *each)

    def _repeat(self, process: Process, name: str, seconds: float, task: Callable[[], Any]) -> None:
        def again() -> None:
            try:
                self._guarded(process, task)
            finally:
                self.world.submit(process, name, again, after=seconds)

        self.world.submit(process, name, again, after=chance.uniform(0, seconds))

    def _wake_for_due_sagas(self) -> None:
        if store.due().exists():
            self.enqueue(order_tasks.advance)

    def _break_redis(self) -> None:
        if chance.is_faulty:
            after = self.redis.break_by_chance()
            self.world.submit(self._outside, "fault of redis", self._break_redis, after=after)


def _settle(issuer: str) -> None:
    """Settle one batch of each queue that has no other issuer."""
    for campaign_id, most in worker._batch_sizes().items():
        with suppress(stream.LeaseTaken, stream.StreamLost, worker.NoTicketSettled):
            worker._settle_batch(campaign_id, issuer=issuer, most=min(most, MOST_TICKETS))


def _deliver(worker: str) -> None:
    """What a worker's dispatcher does, without its threads."""
    endpoints.find()
    sequencing.sequence()
    for endpoint_id in list(dispatcher.due_endpoints().values_list("pk", flat=True)):
        with suppress(LeaseLost):
            while dispatcher.deliver_due(endpoint_id, worker, pool=AtOnce()):
                pass
        dispatcher.release(endpoint_id, worker)


def _decide_alone(batcher: "batching.Batcher[Any, Any]", request: Any) -> Any:
    """Decide the request in a batch of its own, because no leader's thread runs."""
    return batching._unwrap(batcher._run(lambda: batcher._decide_all([request]))[0])
