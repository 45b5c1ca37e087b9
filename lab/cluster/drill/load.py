"""The load beside a fault: buyers and staff of the chaos trials, a reader, and writes at a steady rate.

The steady writes don't wait for one another, so that they show the first moment at which a write is
acknowledged again: clients that wait for an answer may all be waiting for one that is lost.
"""

import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

from lab.calls import Account, Call, Connection, Observations, RecordedCall
from lab.chaos.clients import Buyer, Client, Staff, Work
from lab.cluster.drill.faults import REFUSED

BUYERS = 2
ACCOUNTS_EACH = 8
STOCKED = {"products": 6, "on_hand": 20_000, "plenty": 1_000_000}
# Accounts, campaigns and their coupons of the steady writes: each account has one coupon of a campaign, so
# they are enough for six minutes.
WRITERS = 120
CAMPAIGNS = 6
COUPONS = 10_000
RATE = 6.0
STEADY = ("coupon", "order", "grant")  # Steady writes a second, and of which kinds in turn
# More than come in the longest silence that a promise allows; and what a write may take after the load.
MOST_WRITES_AT_ONCE = 160
WRITE_SECONDS = 60
READS = ("/campaigns", "/products", "/orders", "/wallet", "/coupons")
# Cards whose payment ends soon: one in doubt for a minute could not be judged right after its fault.
CARDS = {"tok_ok": 12, "tok_slow": 1, "tok_flaky": 2, "tok_declined": 2, "tok_webhook": 2}
# Lists of what an account made itself: the sort of call, and the field that names one.
OWN_LISTS = {"/orders": ("order", "id"), "/coupons": ("coupon", "code")}
NEWEST = 10  # Of these an own list must show each one: far fewer than a page has


class Seen(Observations):
    """What clients saw beside one fault. Connections that were refused or broken are counted by themselves: a
    client also gives up some, so that a call runs beside its repeat."""

    def record_no_answer(self, call: Call, seconds: float, error: Exception) -> None:
        super().record_no_answer(call, seconds, error)
        if "timed out" not in str(error):
            self.count(REFUSED, seconds)

    @property
    def words(self) -> Counter[str]:
        """How many answers of each status; a hang, and a 503 without a time to come again, are findings."""
        found = Counter[str]()
        for word, count in self.statuses.items():
            found[word.partition(" ")[0] if word[0].isdigit() else word] += count
        return found


class DrillBuyer(Buyer):
    """A buyer whose payments end soon, and whose baskets cost no less than the points that they use."""

    points = (0, 0, 100, 300)

    def chosen(self, weights: dict[Any, int]) -> Any:
        return super().chosen(CARDS if "tok_ok" in weights else weights)


class Reader(Client):
    """Reads lists. An own list must show what was acknowledged before it was asked for."""

    mix = {"read": 1}
    pauses = (0.3, 0.3)

    def read(self, account: Account) -> None:
        path = self.random.choice(READS)
        sort, field = OWN_LISTS.get(path, ("", ""))
        bodies = [made.answer.body for made in account.done(sort)[-NEWEST:]]
        known = {str(body.get(field) or body["order"]) for body in bodies}
        answer = self.get(account, path)
        missing = known - {str(one.get(field)) for one in answer.body.get("results", ())}
        if answer.status != 200 or missing:
            lacks = f"answered {answer.word}, lacks {sorted(missing)}"
            self.seen.record_finding(f"GET {path} of account {account.id} {lacks}")


class Steady(Client):
    """Writes at a steady rate, each in a thread of its own, and the moment of each acknowledgement."""

    def __init__(self, campaigns: Sequence[int], work: Work, seed: str) -> None:
        super().__init__(work, seed)
        self.accounts = work.setup.buyers[-WRITERS:]
        self.campaigns = campaigns
        self.connect = partial(Connection, work.port, self.seen)
        # Of each kind, so that one kind of write that fails is not hidden by the others.
        self.acknowledged_at: dict[str, list[float]] = {sort: [] for sort in STEADY}
        self.ended = 0.0

    def run(self, stop: threading.Event) -> None:
        """Until it is stopped and one more write of each kind is acknowledged, so that all outages are over;
        returns with all final answers. Raises NoFinalAnswer."""
        began = time.monotonic()
        calls = list[Future[None]]()
        stopped_at = math.inf
        with ThreadPoolExecutor(MOST_WRITES_AT_ONCE) as pool:
            while self.latest() < stopped_at and time.monotonic() < stopped_at + WRITE_SECONDS:
                calls.append(
                    pool.submit(self.write, len(calls), uuid.UUID(int=self.random.getrandbits(128)).hex)
                )
                time.sleep(max(0.0, began + len(calls) / RATE - time.monotonic()))
                stopped_at = min(stopped_at, time.monotonic() if stop.is_set() else math.inf)
            self.ended = time.monotonic()
        for call in calls:
            call.result()

    def latest(self) -> float:
        """The last moment by which each kind was acknowledged."""
        return min(max(moments, default=0.0) for moments in self.acknowledged_at.values())

    def outage_seconds(self, *, since: float) -> float:
        """The longest time without an acknowledged write of one kind."""
        gaps = list[float]()
        for moments in self.acknowledged_at.values():
            inside = sorted(moment for moment in moments if since < moment < self.ended)
            for earlier, later in pairwise([since, *inside, self.ended]):
                gaps.append(later - earlier)
        return max(gaps)

    def write(self, number: int, key: str) -> None:
        turn, kind = divmod(number, len(STEADY))
        campaign = self.campaigns[turn // WRITERS % len(self.campaigns)]
        sort = STEADY[kind]
        account = self.accounts[turn % WRITERS]
        staff = self.setup.staff
        item = {"product": self.setup.ample.id, "quantity": 1}
        grant = {"user": account.id, "amount": 50, "reason": "drill"}
        owner, path, body = {
            "coupon": (account, "/coupons", {"campaign": campaign}),
            "order": (account, "/orders", {"items": [item]}),
            "grant": (staff, "/wallet/grants", grant),
        }[sort]
        call = Call("POST", path, owner.token, body, "" if sort == "coupon" else key)
        answer = self.connect(seed=key).call_until_final(call, until=self.until)
        if answer.status == 201:
            self.acknowledged_at[sort].append(time.monotonic())
        owner.calls.append(RecordedCall(sort, call, answer))


def clients(work: Work, campaigns: Sequence[int], seed: str) -> list[Any]:
    """What is at work beside a fault, first the steady writes."""
    own = work.setup.buyers[:-WRITERS]
    buyers = [DrillBuyer(own[one::BUYERS], work, f"{seed} {one}") for one in range(BUYERS)]
    return [
        Steady(campaigns, work, f"{seed} steady"),
        Staff(work, f"{seed} staff"),
        Reader(work, f"{seed} reader"),
        *buyers,
    ]
