"""The load beside a fault: buyers and staff of the chaos trials, readers, and writes at a steady rate.

The steady writes don't wait for one another, so that they show the first moment at which a write is
acknowledged again: clients that wait for an answer may all be waiting for one that is lost.
"""

import random
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from lab.chaos.calls import Answer, Call, Connection, Observations
from lab.chaos.clients import PATIENCE_SECONDS, Buyer, Staff
from lab.chaos.memory import Account, RecordedCall, Setup

BUYERS, ACCOUNTS_EACH = 2, 8
WRITERS = 120
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
OWN_LISTS = {"/orders": ("order", "id"), "/coupons": ("coupon", "code")}
"""Lists of what an account made itself: the sort of call, and the field that names one."""
NEWEST = 10
"""Of these an own list must show each one: far fewer than a page has."""


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
    _idle: list[Connection] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        """Until it is stopped, and all calls have their final answers. Raises NoFinalAnswer."""
        chance, began = random.Random(self.seed), time.monotonic()
        calls: list[Future[None]] = []
        with ThreadPoolExecutor(MOST_WRITES_AT_ONCE) as pool:
            while not stop.is_set():
                key = uuid.UUID(int=chance.getrandbits(128)).hex
                fresh = [] if self._idle else [Connection(self.port, self.seen, seed=f"{self.seed} {key}")]
                calls.append(pool.submit(self._write, len(calls), key, (fresh or self._idle).pop()))
                stop.wait(max(0.0, began + len(calls) / RATE - time.monotonic()))
        for call in calls:
            call.result()

    def _write(self, number: int, key: str, connection: Connection) -> None:
        accounts, staff = self.setup.buyers[BUYERS * ACCOUNTS_EACH :], self.setup.staff
        account = accounts[number // 3 % len(accounts)]
        campaign = self.campaigns[number // 3 // len(accounts) % len(self.campaigns)]
        sort, owner, path, body = (
            ("coupon", account, "/coupons", {"campaign": campaign}),
            ("order", account, "/orders", {"items": [{"product": self.setup.ample.id, "quantity": 1}]}),
            ("grant", staff, "/wallet/grants", {"user": account.id, "amount": 50, "reason": "drill"}),
        )[number % 3]
        call = Call("POST", path, owner.token, body, "" if sort == "coupon" else key)
        answer = connection.call_until_final(call, until=self.until)
        self._idle.append(connection)
        if answer.status == 201:
            self.acknowledged_at[sort].append(time.monotonic())
        owner.calls.append(RecordedCall(sort, call, answer))


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


def clients(setup: Setup, campaigns: Sequence[int], *, seed: str, **common: Any) -> list[Any]:
    """What is at work beside a fault, first the steady writes."""
    own, port, seen = setup.buyers[: BUYERS * ACCOUNTS_EACH], common["port"], common["seen"]
    return [
        Steady(setup, port, f"{seed} steady", campaigns, seen, common["ends_at"] + PATIENCE_SECONDS),
        Staff(setup, seed=f"{seed} staff", **common),
        Reader(setup, port, f"{seed} reader", seen),
        *(DrillBuyer(own[one::BUYERS], setup, seed=f"{seed} {one}", **common) for one in range(BUYERS)),
    ]
