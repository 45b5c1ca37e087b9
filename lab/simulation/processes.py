"""The shop's processes in a simulated run, the messages between them, and their Redis.

Redis is fakeredis, whose scripts run in a real Lua; `TIME` and time-outs follow the simulated clock.
"""

import hashlib
import sys
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Executor as Pool, Future
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import fakeredis
from django.db import connection
from redis import Redis
from redis.exceptions import TimeoutError

from coupons import gate, issuing, pool_list, tasks
from coupons.queue import stream, worker
from events.feed import sequencing
from events.webhooks import dispatcher, endpoints
from events.webhooks.delivery_pass import LeaseLost
from foundation.concurrency import batching, thread_pool
from foundation.errors import FirstcomeError, Unavailable
from foundation.operations import dispatch
from foundation.outbound.circuit_breaker import CircuitBreaker
from foundation.redis import redis_client
from lab.simulation.world import MOST, SECONDS, SHARES, Crash, chance
from orders import cancellation, tasks as order_tasks
from orders.saga import rows as saga_rows, run as executors
from orders.saga.run import Executor
from sales.waiting_room import advancing, room_view, ticking

AWAY = "is away"
EMPTY = "loses all keys"
KEEPS = "keeps its keys"
OLD = "comes back with old keys"
# Calls of Redis that a request or an issuer makes without a lock: after each, others may run.
WAITS: list[Any] = [
    gate.admit,
    pool_list.claim_code,
    pool_list.resolve_code,
    stream.enqueue,
    stream.read,
    stream.remove,
]
usual_attempt = redis_client.attempt


class AtOnce(Pool):
    """In the place of a pool of threads: runs what is submitted at once, in the caller's thread."""

    def submit(self, work: Callable[..., Any], /, *of: Any, **named: Any) -> Future[Any]:
        future = Future[Any]()
        future.set_result(work(*of, **named))
        return future


@dataclass
class Process:
    """A simulated process. Its tasks are dropped when it is killed, and it starts again."""

    name: str
    incarnation: int = 0


Work = Callable[[], Any]
# When it is due, a process, its incarnation, a name and the work, which runs if that process still lives.
Task = tuple[float, Process, int, str, Work]


class Processes:
    """All processes of the shop, and the broker and Redis between them: one task runs at a time."""

    def __init__(self) -> None:
        self._tasks = list[Task]()
        self._nested = 0
        self.steps = 0
        self.trace = hashlib.sha256()
        self.last = deque[str](maxlen=60)
        self._outside = Process("clients")
        self._web = Process("web")
        names = ("worker-1", "worker-2", "beat-1", "beat-2", "issuer-1", "issuer-2")
        self.present = self._web
        self._others = [Process(name) for name in names]
        self._workers = self._others[:2]
        self._executors = dict[str, Executor]()
        self.server = fakeredis.FakeServer(version=(6, 2))
        # Scripts get replies as in RESP2, whatever the connection's protocol is.
        self._redis: Redis = fakeredis.FakeStrictRedis(server=self.server, protocol=2)
        self._breakers = defaultdict[str, CircuitBreaker](lambda: CircuitBreaker("redis"))
        self._kept_keys: dict[Any, tuple[int, Any]] = {}

    def start(self) -> None:
        """Have the shop's code use this run's executors, messages and Redis, and no threads; faults begin."""
        executors.process_executor = lambda: self._executor(self.present)  # type: ignore[assignment]
        dispatch.enqueue = self.enqueue
        redis_client.attempt = self._attempt
        redis_client.client = lambda: self._redis
        setattr(thread_pool, "ThreadPoolExecutor", lambda *_, **__: AtOnce())  # noqa: B010 - else a type
        batching.Batcher.submit = _decide_alone  # type: ignore[method-assign, assignment]

        def wait_after(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            result = call(*arguments, **named)
            self.let_others_run()
            return result

        for call in WAITS:
            setattr(sys.modules[call.__module__], call.__name__, partial(wait_after, call))
        chance.is_faulty = True
        for process in (*self._others, self._web):
            self._start(process)
        self.happen("fault of redis", self._break_redis, *SECONDS.redis_serves)

    def note(self, text: str) -> None:
        self.last.append(f"{self.steps:5} {chance.seconds:.3f} {text}")
        self.trace.update(self.last[-1].encode() + b"\n")

    def submit(self, process: Process, name: str, run: Work, *, after: float = 0.0) -> None:
        """Have it run by this process, once so much time has passed."""
        self._tasks.append((chance.seconds + after, process, process.incarnation, name, run))

    def happen(self, name: str, run: Work, *between: float) -> None:
        """Have something outside of the shop happen, after so many seconds."""
        self.submit(self._outside, name, run, after=chance.uniform(*between))

    def step(self) -> None:
        """Run one task, the next that is due if none can run now; a task that waits keeps its faults."""
        chance.seconds = max(chance.seconds, min(due for due, *_ in self._tasks))
        task = chance.choice([task for task in self._tasks if task[0] <= chance.seconds])
        self._tasks.remove(task)
        _, process, incarnation, name, run = task
        if process.incarnation == incarnation:
            self.steps += 1
            self.note(f"{process.name} {name}")
            faults = (chance.left, chance.lost)
            chance.left = None
            chance.lost = ""
            if process is self._outside:
                run()
            else:
                self.run_as(process, run)
            chance.left, chance.lost = faults
        is_long = chance.random() < SHARES.jumps
        chance.pass_time(chance.uniform(*(SECONDS.jump if is_long else SECONDS.step)))

    def run_as(self, process: Process, task: Work) -> BaseException | None:
        """Run the task as the process, with faults by chance; an error, or the end of both, is noted."""
        before = self.present
        self.present = process
        drawn = chance.draw()
        if drawn < SHARES.crashes:
            chance.left = chance.randint(1, MOST.statements)
        elif drawn < SHARES.crashes + SHARES.lost_commits:
            chance.lost = "reply" if chance.random() < 0.5 else "request"
        try:
            task()
            return None
        except Exception as error:
            self.note(f"{process.name} failed: {type(error).__name__}: {str(error)[:80]}")
            return error
        except Crash as crash:
            self.note(f"{process.name} is killed")
            process.incarnation += 1
            self._start(process)
            return crash
        finally:
            self.present = before
            chance.left = None
            chance.lost = ""

    def let_others_run(self) -> None:
        """Run a task by chance while the present process waits; raises Crash if that ends it."""
        process = self.present
        incarnation = self.present.incarnation
        is_free = self._nested < MOST.nested and not connection.in_atomic_block
        if not is_free or chance.draw() >= SHARES.switches:
            return
        self._nested += 1
        try:
            # Its own context: what is bound to the waiting request's log lines and actor stays there.
            Context().run(self.step)
        finally:
            self._nested -= 1
            self.present = process
        if process.incarnation != incarnation:
            raise Crash

    def call(self, work: Work) -> list[Any]:
        """What the call of the web process returns, or how it is refused; nothing where it has no answer."""
        outcomes = list[Any]()
        error = self.run_as(self._web, lambda: outcomes.append(work()))
        if isinstance(error, FirstcomeError) and not isinstance(error, Unavailable):
            return [error]
        return outcomes

    def enqueue(self, task: Any, *arguments: Any) -> None:
        """Send a message, which may be lost, doubled or late."""
        drawn = chance.draw()
        if drawn < SHARES.lost_messages:
            self.note(f"lost: {task.name}")
            return
        for _ in range(2 if drawn < SHARES.lost_messages + SHARES.doubled_messages else 1):
            is_late = chance.draw() < SHARES.late_messages
            to = chance.choice(self._workers)
            after = 0.0
            if is_late:
                after = chance.uniform(*SECONDS.late_message)
            self.submit(to, task.name, partial(task.run, *arguments), after=after)

    def _executor(self, process: Process) -> Executor:
        if process.name not in self._executors:
            # The world runs its tasks one at a time; the distance of batches is that of their tasks.
            pools: Any = SimpleNamespace(pause=lambda seconds: None)
            after = {"batch": SECONDS.batch}
            pools.submit = lambda pool, task: self.submit(process, pool, task, after=after.get(pool, 0.0))
            self._executors[process.name] = executor = Executor(pools=pools, failpoint=self._failpoint)
            executor.polls = process in self._workers
            if process is self._web:
                # Each of its lives either advances payments that it begins, or leaves all to the workers.
                executor.new_places = chance.choice([0, MOST.own_payments])
        return self._executors[process.name]

    def _failpoint(self, point: str) -> None:
        if chance.draw() < SHARES.crashes_of_sagas:
            self.note(f"crash at {point}")
            raise Crash

    def _start(self, process: Process) -> None:
        """Start it, or start it again: what it remembered of sagas, Redis, campaigns and sales is gone."""
        self._executors.pop(process.name, None)
        self._breakers.pop(process.name, None)
        if process is self._web:
            issuing.forget()
            room_view.clear()
        if process in (self._web, *self._workers):
            self._executor(process)
        name = f"{process.name} {process.incarnation}"

        def watch() -> None:
            self._executor(process).watch()

        repeated: dict[str, Any] = {
            "web": [("watch", 1.0, watch), ("waiting rooms", 2.0, ticking.tick)],
            "worker": [("watch", 1.0, watch), ("webhooks", 1.0, partial(_deliver, name))],
            "beat": [
                ("orders.advance", 1.0, self._advance_due),
                ("webhooks due", 1.0, order_tasks.handle_webhooks_due.run),
                *((of.__module__, 5.0, of) for of in (cancellation.expire_due, advancing.advance_all)),
                ("coupons.sweep", 5.0, tasks.sweep),
            ],
            "issuer": [("queues", 0.5, partial(_settle, name))],
        }
        for task, seconds, work in repeated[process.name.split("-")[0]]:
            self._repeat(process, task, seconds, work)

    def _advance_due(self) -> None:
        if saga_rows.due().exists():
            self.enqueue(order_tasks.advance)

    def _repeat(self, process: Process, name: str, seconds: float, task: Work) -> None:
        def again() -> None:
            try:
                task()
            finally:
                self.submit(process, name, again, after=seconds)

        self.submit(process, name, again, after=chance.uniform(0, seconds))

    def _attempt(self, call: Callable[[Redis], Any], *, otherwise: Any) -> Any:
        """`redis_client.attempt` of the present process, whose circuit breaker is its own."""

        def attempted(client: Redis) -> Any:
            chance.count_call()
            with chance.network(SHARES.lost_calls_of_redis, TimeoutError):
                result = call(client)
                chance.count_call()
            return result

        redis_client._breaker = self._breakers[self.present.name]
        return usual_attempt(attempted, otherwise=otherwise)

    def _break_redis(self) -> None:
        """Make a fault of the whole Redis, or end it; the next one is due later."""
        if not chance.is_faulty:
            return
        fault = "is back"
        if self.server.connected:
            fault = chance.choice([AWAY, EMPTY, KEEPS, OLD])
        self.note(f"redis {fault}")
        self.server.connected = fault != AWAY
        if fault == KEEPS:
            keys = sorted(self._redis.keys())
            self._kept_keys = {key: (max(0, self._redis.pttl(key)), self._redis.dump(key)) for key in keys}
        if fault in (EMPTY, OLD):
            self._redis.flushall()
        if fault == OLD:
            for key, (milliseconds, value) in self._kept_keys.items():
                self._redis.restore(key, milliseconds, value)
        lasts = SECONDS.redis_serves
        if fault == AWAY:
            lasts = SECONDS.redis_is_away
        self.happen("fault of redis", self._break_redis, *lasts)


def _settle(issuer: str) -> None:
    """Settle one batch of each queue that has no other issuer."""
    for campaign_id, most in worker._batch_sizes().items():
        with suppress(stream.LeaseTaken, stream.StreamLost, worker.NoTicketSettled):
            worker._settle_batch(campaign_id, issuer=issuer, most=min(most, MOST.tickets))


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
