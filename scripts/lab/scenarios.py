"""The scenarios, one entry each: who asks for what, what else happens meanwhile, what it came to.

A scenario is a load of k6, optionally something that is done meanwhile in this process, and a check of the
rows afterwards. Those of one sort share how they are prepared and checked: `lab.coupons`, `lab.orders`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Literal

from scripts.bench.stage import Staff
from scripts.lab import crash, loads
from scripts.lab.loads import Load
from scripts.stack import own_stack

UNSAFE = "unsafe"
DEFAULT_INVENTORY = "group_commit"
PARTNER = "convenience_store"
ACCOUNTS = 100_000
"""Where they run out, callers come again, and 200 tells how many."""
CRASH_PAUSE_SECONDS = 0.05
MOST_COUPONS = 60_000
"""Codes of a pool have to be made for each. Who is quicker runs out of these too."""


@dataclass(frozen=True)
class Offer:
    """Names of strategies that the shop has: for issuing coupons, and for reserving stock."""

    coupons: Sequence[str]
    inventory: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`says` is what it is to show; `is_steady` puts the thresholds of a steady load to it; with `persists`
    callers come again until they have their coupon or none is left.

    `variants` are run one by one; `meanwhile(staff, variant, ended)` runs in a thread of its own from the
    start of the load, ends soon after `ended` is set, and returns what befell, for the report.
    """

    name: str
    says: str
    load: Load
    quick: Load
    sort: Literal["coupons", "orders"] = "coupons"
    strategies: Sequence[str] = ()
    """All but `unsafe`, where none is named."""
    variants: Sequence[str] = ("",)
    is_steady: bool = False
    persists: bool = False
    meanwhile: Callable[[Staff, str, Event], Sequence[Mapping[str, Any]]] | None = None

    def fitting(self, offer: Offer) -> list[str]:
        """The strategies that there are for it."""
        if self.sort == "orders":
            return list(offer.inventory)
        if self.strategies:
            return [name for name in offer.coupons if name in self.strategies]
        return [name for name in offer.coupons if name != UNSAFE or self.name == "race"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the report to be: a strategy in a scenario."""

    scenario: Scenario
    strategy: str
    variant: str
    is_quick: bool

    @property
    def load(self) -> Load:
        return self.scenario.quick if self.is_quick else self.scenario.load

    @property
    def settings(self) -> Mapping[str, str]:
        """What the stack has to be started with. No account is throttled: callers that are refused come again
        without a pause, and strategies are compared here, not limits."""
        inventory = self.strategy if self.scenario.sort == "orders" else DEFAULT_INVENTORY
        return {"LAB": "1", "INVENTORY_STRATEGY": inventory, **own_stack.NO_RATES}

    @property
    def is_control(self) -> bool:
        """Whether it is to break laws."""
        return self.scenario.sort == "coupons" and self.strategy == UNSAFE

    @property
    def name(self) -> str:
        return " ".join(word for word in (self.scenario.name, self.strategy, self.variant) if word)


SCENARIOS: Mapping[str, Scenario] = {
    one.name: one
    for one in (
        Scenario(
            name="race",
            says="200 accounts at once, quantity 100: 100 are issued, and 100 find it sold out",
            load=loads.at_once(200, quantity=100, seconds=4),
            quick=loads.at_once(60, quantity=30, seconds=2),
        ),
        Scenario(
            name="paced",
            says="100 callers, 1,000 requests, 1 s pause: p50, p95, max",
            load=loads.paced(100, each=10, pause=1),
            quick=loads.paced(20, each=2, pause=0.2),
        ),
        Scenario(
            name="crowd",
            says="10 s to 2,000 callers, 80 s with all of them, 1 s pause, quantity 100,000: "
            "requests a second, p95, refusals by code, rows = answers",
            load=loads.crowd(2_000, ramp=10, hold=80, accounts=ACCOUNTS, quantity=100_000, pause=1),
            quick=loads.crowd(40, ramp=1, hold=1, accounts=500, quantity=80, pause=0.2),
        ),
        Scenario(
            name="steady",
            says="100 callers for 60 s without a pause: requests a second, p50, p95, max",
            load=loads.constant(100, 60, accounts=MOST_COUPONS, quantity=MOST_COUPONS),
            quick=loads.constant(10, 1, accounts=2_000, quantity=2_000),
            is_steady=True,
        ),
        Scenario(
            name="pool",
            says="1,500 callers at once, 1,000 coupons, with a partner that fails one call in ten and "
            "without: 1,000 issued when callers come again, none lost, none twice",
            load=loads.at_once(1_500, quantity=1_000, seconds=12),
            quick=loads.at_once(60, quantity=40, seconds=3),
            variants=("", "partner"),
            persists=True,
        ),
        Scenario(
            name="steps",
            says="10, 50, 100, 200 and 300 callers for 5 s each: where throughput stops growing, "
            "and where p95 breaks",
            load=loads.steps((10, 50, 100, 200, 300), 5, accounts=40_000, quantity=40_000),
            quick=loads.steps((5, 20), 1, accounts=2_000, quantity=2_000),
        ),
        Scenario(
            name="orders",
            says="100 buyers for 60 s without a pause, 100 products: stock, coupon, points and card in one "
            "call, once for each `INVENTORY_STRATEGY`",
            load=loads.until_all_asked(100, 60, accounts=8_000),
            quick=loads.until_all_asked(8, 2, accounts=60),
            sort="orders",
            is_steady=True,
        ),
        Scenario(
            name="baseline",
            says="1,000 callers for 30 s, 1 s pause, quantity 30,000: how many rows `unsafe` gets wrong",
            load=loads.constant(1_000, 30, accounts=30_000, quantity=30_000, pause=1),
            quick=loads.constant(20, 1, accounts=200, quantity=50, pause=0.1),
            strategies=("group_commit", UNSAFE),
        ),
        Scenario(
            name="crash",
            says="40 callers for 40 s, who rest 50 ms and come again, while in turn a web process is killed, "
            "Redis is killed, Redis is emptied, and the issuer of `queue` is killed: how long until "
            "the next coupon, at worst, and that rows = answers all the same",
            # With the rest accounts don't run out: one that comes again and never hears the first time would
            # be told of its coupon twice.
            load=loads.constant(40, 40, accounts=40_000, quantity=40_000, pause=CRASH_PAUSE_SECONDS),
            quick=loads.constant(8, 5, accounts=5_000, quantity=5_000, pause=CRASH_PAUSE_SECONDS),
            persists=True,
            meanwhile=crash.befall,
        ),
    )
}
