"""The load beside a fault: buyers and staff of the chaos trials, readers, and writes at a steady rate.

The steady writes don't wait for one another, so that they show the first moment at which a write is
acknowledged again: clients that wait for an answer may all be waiting for one that is lost.
"""

import queue
import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lab.chaos.calls import Answer, Call, Connection, NoFinalAnswer, Observations
from lab.chaos.clients import PATIENCE_SECONDS, Buyer, Staff, await_final_answer
from lab.chaos.memory import Account, RecordedCall, Setup
from lab.cluster.layout import Cluster

BUYERS, ACCOUNTS_EACH = 2, 8
WRITERS_ACCOUNTS = 120
"""Accounts of the steady writes: each has one coupon of a campaign."""
RATE = 6.0
"""Steady writes a second."""
STEADY = ("coupon", "order", "grant")
MOST_WRITES_AT_ONCE = 160
"""More than come in the longest silence that a promise allows."""
READ_PAUSE_SECONDS = 0.3
READS = ("/campaigns", "/products", "/orders", "/wallet", "/coupons")
CARDS = {"tok_ok": 12, "tok_slow": 1, "tok_flaky": 2, "tok_declined": 2, "tok_webhook": 2}
"""Cards whose payment ends soon: one in doubt for a minute could not be judged right after its fault."""


class DrillBuyer(Buyer):
    """A buyer whose payments end soon."""

    def chosen(self, weights: dict[Any, int]) -> Any:
        return super().chosen(CARDS if "tok_ok" in weights else weights)


@dataclass
class Steady:
    """Writes at a steady rate, each in a thread of its own, and the moment of each acknowledgement."""

    setup: Setup
    port: int
    seed: str
    campaigns: Sequence[int]
    seen: Observations
    until: float
    """Of the monotonic clock: no call is repeated later."""
    acknowledged_at: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in STEADY})
    """Of each kind, so that one kind of write that fails is not hidden by the others."""
    _connections: "queue.SimpleQueue[Connection]" = field(default_factory=queue.SimpleQueue)
    _made: int = 0

    def run(self, stop: threading.Event) -> None:
        """Until it is stopped, and all calls have their final answers. Raises NoFinalAnswer."""
        chance = random.Random(self.seed)
        calls: list[Future[None]] = []
        with ThreadPoolExecutor(MOST_WRITES_AT_ONCE) as pool:
            began, number = time.monotonic(), 0
            while not stop.is_set():
                calls.append(pool.submit(self._write, number, uuid.UUID(int=chance.getrandbits(128)).hex))
                number += 1
                stop.wait(max(0.0, began + number / RATE - time.monotonic()))
        for call in calls:
            call.result()

    def _write(self, number: int, key: str) -> None:
        accounts = self.setup.buyers[BUYERS * ACCOUNTS_EACH :]
        account = accounts[number // 3 % len(accounts)]
        campaign = self.campaigns[number // 3 // len(accounts) % len(self.campaigns)]
        item = {"product": self.setup.ample.id, "quantity": 1}
        sort, owner, call = (
            ("coupon", account, Call("POST", "/coupons", account.token, {"campaign": campaign})),
            ("order", account, Call("POST", "/orders", account.token, {"items": [item]}, key)),
            (
                "grant",
                self.setup.staff,
                Call(
                    "POST",
                    "/wallet/grants",
                    self.setup.staff.token,
                    {"user": account.id, "amount": 50, "reason": "drill"},
                    key,
                ),
            ),
        )[number % 3]
        answer = self._until_final(call)
        if answer.status == 201:
            self.acknowledged_at[sort].append(time.monotonic())
        owner.calls.append(RecordedCall(sort, call, answer))

    def _until_final(self, call: Call) -> Answer:
        try:
            connection = self._connections.get_nowait()
        except queue.Empty:
            connection = Connection(self.port, self.seen, seed=f"{self.seed} {call.key}")
        try:
            return connection.call_until_final(call, until=self.until)
        finally:
            self._connections.put(connection)


OWN_LISTS = {"/orders": ("order", "id"), "/coupons": ("coupon", "code")}
"""Lists of what an account made itself: the sort of call, and the field that names one."""
NEWEST = 10
"""Of these an own list must show each one: far fewer than a page has."""


@dataclass
class Reader:
    """One thread that reads lists. An own list must show what was acknowledged before it was asked for."""

    setup: Setup
    port: int
    seed: str
    seen: Observations

    def run(self, stop: threading.Event) -> None:
        chance, connection = random.Random(self.seed), Connection(self.port, self.seen, seed=self.seed)
        while not stop.wait(READ_PAUSE_SECONDS):
            path, account = chance.choice(READS), chance.choice(self.setup.buyers)
            known = newest(account, path)
            answer = connection.call_once(Call("GET", path, account.token))
            if answer and answer.status == 200 and (missing := known - shown(answer, path)):
                self.seen.record_finding(f"GET {path} of account {account.id} lacks {sorted(missing)}")


def newest(account: Account, path: str) -> set[str]:
    """What the account made last, as the own list at this path names it; nothing for other lists."""
    sort, field_name = OWN_LISTS.get(path, ("", ""))
    made = [call.answer.body for call in list(account.calls) if call.sort == sort and call.was_done]
    return {str(body.get(field_name) or body["order"]) for body in made[-NEWEST:]}


def shown(answer: Answer, path: str) -> set[str]:
    """What the answer's page of an own list names."""
    _, field_name = OWN_LISTS.get(path, ("", ""))
    return {str(one[field_name]) for one in answer.body["results"]} if field_name else set()


@dataclass
class Load:
    """A load that runs, until `stopped` leaves it."""

    steady: Steady
    seen: Observations
    findings: list[str] = field(default_factory=list)


@contextmanager
def running(
    setup: Setup, *, port: int, seed: str, campaigns: Sequence[int], seen: Observations, seconds: float
) -> Iterator[Load]:
    """The load inside the block. Leaving it waits until each client has the final answer of its last call."""
    ends_at, stop = time.monotonic() + seconds, threading.Event()
    common: dict[str, Any] = {"port": port, "ends_at": ends_at, "seen": seen}
    steady = Steady(setup, port, f"{seed} steady", campaigns, seen, ends_at + PATIENCE_SECONDS)
    clients: list[Any] = [steady, Staff(setup, seed=f"{seed} staff", **common)]
    for number in range(BUYERS):
        own = setup.buyers[: BUYERS * ACCOUNTS_EACH][number::BUYERS]
        clients.append(DrillBuyer(own, setup, seed=f"{seed} {number}", **common))
    load = Load(steady, seen)
    reader = Reader(setup, port, f"{seed} reader", seen)
    with ThreadPoolExecutor(len(clients) + 1) as threads:
        working = [threads.submit(client.run, stop) for client in [*clients, reader]]
        try:
            yield load
        except BaseException:
            # Nothing is judged any more, so no call has to be repeated to its final answer.
            for client in clients:
                client.until = 0.0
            raise
        finally:
            stop.set()
    for one in working:
        if isinstance(error := one.exception(), NoFinalAnswer):
            load.findings.append(f"no final answer: {error}")
        elif error:
            raise error


def settle(setup: Setup, *, port: int, seen: Observations, within_seconds: float) -> list[str]:
    """Repeat the calls that were answered 202 until they have a final answer; those that have none."""
    until, connection = time.monotonic() + within_seconds, Connection(port, seen, seed="settle")
    calls = [made for account in (setup.staff, *setup.buyers) for made in account.calls]
    return [
        finding
        for made in calls
        for finding in await_final_answer(made, connection, within_seconds=until - time.monotonic())
    ]


def connection(cluster: Cluster, seen: Observations, seed: str) -> Connection:
    """A connection to the shop that repeats calls until their answer is final."""
    return Connection(cluster.port("front"), seen, seed=seed)
