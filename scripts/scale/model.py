"""A simulation of web processes that batch requests for hot rows of one primary database.

Each node is a web process: its requests wait in one queue for each lane, a lane is a row that is contended
(a campaign, a product) and independent of the others, and a leader for each queue decides batch after batch
under the row's lock, as `shop.concurrency.group_commit` does. Time is simulated by simpy, in seconds.

What it leaves out: the network between nodes and the database beyond what was measured, locks other than the
lane's row, a log that is full, a buffer pool that is too small, and replicas that can't keep up.
"""

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

EDGE_CHUNK = 16
"""Requests that are answered, and come again, at once: an event for each would take too long."""
SWITCH_SECONDS = 0.005
"""How long a thread keeps Python's interpreter while others want it (`sys.getswitchinterval`)."""
LEAST_BATCHES = 1_000
LONGEST_SECONDS = 40.0
Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one kind of request costs, in seconds.

    The leader's batch takes `outside` of processor and `outside_idle` of waiting before its transaction,
    then under the row's lock `python` and `database` of processor and `idle` of waiting for round trips, each
    for the batch and again for every request in it, and then `commit`. `edge` is the processor of a request
    outside its batch. `handover` is the time from one process' release of the lock until the next process
    has it.
    """

    outside_batch: float
    outside_request: float
    outside_idle: float
    python_batch: float
    python_request: float
    database_batch: float
    database_request: float
    idle: float
    commit: float
    handover: float
    edge: float
    interval: float
    most_in_batch: int

    @property
    def leader_request(self) -> float:
        """The leader's processor for each request of a batch."""
        return self.outside_request + self.python_request

    def lane_seconds(self, requests: int, *, latency: float) -> float:
        """How long a batch holds its row when no processor is busy."""
        processor = self.python_batch + self.database_batch
        processor += requests * (self.python_request + self.database_request)
        return processor + self.idle + self.commit + latency


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Nodes, lanes, and buyers on each node who have one request under way at any time.

    `latency` is added to each commit. With `is_one_machine` the nodes share the database's processors.
    """

    nodes: int
    lanes: int
    latency: float
    buyers: int
    processors: int
    is_one_machine: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a simulated second brings."""

    per_second: float
    per_batch: float
    lock_share: float
    """How much of the time a lane's row is locked."""
    database_share: float
    """How much of the database's processors is busy with batches."""


def simulate(work: Work, layout: Layout, *, seed: int = 1) -> Outcome:
    """Simulate until enough batches are decided after a warm-up; the same seed gives the same outcome."""
    return _Simulation(work, layout, seed).outcome()


class _Node:
    """One web process: its processor, and for each lane the requests that wait and the leader's wake-up."""

    def __init__(self, environment: simpy.Environment, lanes: int) -> None:
        # One thread at a time has the interpreter.
        self.processor = simpy.Resource(environment, 1)
        self.waiting = [0] * lanes
        self.idle_leader: list[simpy.Event | None] = [None] * lanes
        # Answered requests whose buyers' next ones the event loop has not queued yet.
        self.arriving = 0
        self.settled = environment.event()


class _Simulation:
    def __init__(self, work: Work, layout: Layout, seed: int) -> None:
        self.work, self.layout = work, layout
        self.random = random.Random(seed)
        self.environment = environment = simpy.Environment()
        self.database = simpy.Resource(environment, layout.processors)
        self.locks = [simpy.Resource(environment, 1) for _ in range(layout.lanes)]
        self.nodes = [_Node(environment, layout.lanes) for _ in range(layout.nodes)]
        self.forget()

    def forget(self) -> None:
        """Count from now on."""
        self.counted_since = self.environment.now
        self.is_enough = self.environment.event()
        self.requests = self.batches = 0
        self.locked = self.busy = 0.0

    def outcome(self) -> Outcome:
        for node in self.nodes:
            for lane in range(self.layout.lanes):
                self.environment.process(self.lead(node, lane))
            self.environment.process(self.arrive(node, self.layout.buyers))
        self.environment.run(until=self.warm_up_seconds())
        self.forget()
        until = self.environment.timeout(LONGEST_SECONDS)
        self.environment.run(until=self.environment.any_of([until, self.is_enough]))
        seconds = self.environment.now - self.counted_since
        return Outcome(
            per_second=self.requests / seconds,
            per_batch=self.requests / max(1, self.batches),
            lock_share=self.locked / seconds / self.layout.lanes,
            database_share=self.busy / seconds / self.layout.processors,
        )

    def warm_up_seconds(self) -> float:
        """Each node has had its turn at each row by then."""
        size = min(self.work.most_in_batch, self.layout.buyers // self.layout.lanes)
        turn = self.work.lane_seconds(size, latency=self.layout.latency) + self.work.handover
        return 0.3 + turn * self.layout.nodes

    def lead(self, node: _Node, lane: int) -> Steps:
        """A leader: decide batch after batch while requests wait."""
        work, environment, began_at = self.work, self.environment, float("-inf")
        while True:
            while not node.waiting[lane]:
                wake_up = node.idle_leader[lane] = environment.event()
                yield wake_up
            if environment.now < began_at + work.interval:
                yield environment.timeout(began_at + work.interval - environment.now)
            if work.interval and node.arriving:
                # The leader sleeps between batches, if only for an instant, and the event loop goes on.
                yield environment.any_of([node.settled, environment.timeout(SWITCH_SECONDS)])
            began_at = environment.now
            size = min(node.waiting[lane], work.most_in_batch)
            node.waiting[lane] -= size
            yield from self.compute(node, work.outside_batch + size * work.outside_request)
            yield environment.timeout(work.outside_idle)
            with self.locks[lane].request() as granted:
                yield granted
                locked_at = environment.now
                yield from self.decide(node, size)
                self.count(size, environment.now - locked_at)
                environment.process(self.arrive(node, size))
                if self.locks[lane].queue:
                    yield environment.timeout(work.handover)

    def decide(self, node: _Node, size: int) -> Steps:
        """The transaction of a batch, up to the reply to its COMMIT."""
        work = self.work
        yield from self.compute(node, work.python_batch + size * work.python_request)
        seconds = work.database_batch + size * work.database_request
        with self.database.request() as granted:
            yield granted
            self.busy += seconds
            yield self.environment.timeout(seconds)
        yield self.environment.timeout(work.idle + work.commit + self.layout.latency)

    def arrive(self, node: _Node, requests: int) -> Steps:
        """Answer these requests; their buyers send the next ones at once."""
        node.arriving += requests
        while requests:
            some = min(EDGE_CHUNK, requests)
            requests -= some
            if self.work.edge:
                yield from self.compute(node, some * self.work.edge)
            node.arriving -= some
            for lane in self.random.choices(range(self.layout.lanes), k=some):
                node.waiting[lane] += 1
                wake_up, node.idle_leader[lane] = node.idle_leader[lane], None
                if wake_up:
                    wake_up.succeed()
        if not node.arriving:
            node.settled.succeed()
            node.settled = self.environment.event()

    def compute(self, node: _Node, seconds: float) -> Steps:
        """Use the node's processor, which is one of the machine's where all share one."""
        with node.processor.request() as granted:
            yield granted
            if not self.layout.is_one_machine:
                yield self.environment.timeout(seconds)
                return
            with self.database.request() as shared:
                yield shared
                yield self.environment.timeout(seconds)

    def count(self, requests: int, locked: float) -> None:
        self.requests += requests
        self.batches += 1
        self.locked += locked
        if self.batches == max(LEAST_BATCHES, 2 * self.layout.nodes * self.layout.lanes):
            self.is_enough.succeed()
