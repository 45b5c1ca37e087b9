"""The scenarios, one entry each, and the cases of them that `STRATEGIES=…` and `SCENARIO=…` choose."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Literal

from lab.bench import stage
from lab.bench.stage import Staff
from lab.compare import crash, loads
from lab.compare.loads import Load
from scripts import check
from scripts.stack import children, own_stack

UNSAFE = "unsafe"
DEFAULT_INVENTORY = "group_commit"
PARTNER = "convenience_store"
ACCOUNTS = 100_000
"""If they run out, their requests are repeated, and the answers 200 count how many."""
CRASH_PAUSE_SECONDS = 0.05
MOST_COUPONS = 60_000
"""The codes of a pool are made one by one. A faster strategy runs out of these too."""
UNPAID_ORDERS_STAY = {"ORDER_HOLD_SECONDS": stage.SETTINGS["ORDER_HOLD_SECONDS"]}
"""Expiring those of a ramp by the thousand would slow the next rows down."""
PRINT_OFFER = """
import json, django
django.setup()
from coupons.issuing import issuing
from orders.placement import checkout
print(json.dumps({"coupons": [*issuing.STRATEGIES], "inventory": [*checkout.STRATEGIES]}))
"""


@dataclass(frozen=True)
class Offer:
    """Names of strategies that the shop has: for issuing coupons, and for reserving stock."""

    coupons: Sequence[str]
    inventory: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`says` is its purpose; `is_steady` has the thresholds of a steady load checked; with `persists` callers
    retry until they have their coupon or none is left. `strategies` are all but `unsafe` if none is named.
    A ramp ends with the step whose p95 is over the variant's of `slowest_p95_ms`. It also runs where the
    scenario that it `joins` is asked for.

    `variants` are run one by one; `meanwhile(staff, variant, ended)` runs in a thread of its own from the
    start of the load, ends soon after `ended` is set, and returns the faults, for the report.
    """

    name: str
    says: str
    load: Load
    quick: Load
    sort: Literal["coupons", "orders"] = "coupons"
    strategies: Sequence[str] = ()
    variants: Sequence[str] = ("",)
    is_steady: bool = False
    persists: bool = False
    joins: str = ""
    slowest_p95_ms: Mapping[str, int] = field(default_factory=dict)
    meanwhile: Callable[[Staff, str, Event], Sequence[Mapping[str, Any]]] | None = None

    def fitting(self, offer: Offer) -> list[str]:
        """The offered strategies that it runs."""
        offered = offer.inventory if self.sort == "orders" else offer.coupons
        if self.strategies:
            return [name for name in offered if name in self.strategies]
        return [name for name in offered if name != UNSAFE or self.name == "race"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the report: a strategy in a scenario."""

    scenario: Scenario
    strategy: str
    variant: str
    is_quick: bool

    @property
    def load(self) -> Load:
        return self.scenario.quick if self.is_quick else self.scenario.load

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings of the stack. No account is throttled: callers that are refused retry without a pause,
        and strategies are compared here, not limits."""
        inventory = self.strategy if self.scenario.sort == "orders" else DEFAULT_INVENTORY
        return {"LAB": "1", "INVENTORY_STRATEGY": inventory, **UNPAID_ORDERS_STAY, **own_stack.NO_RATES}

    @property
    def is_control(self) -> bool:
        """Whether it is expected to break laws."""
        return self.scenario.sort == "coupons" and self.strategy == UNSAFE

    @property
    def name(self) -> str:
        return " ".join(word for word in (self.scenario.name, self.strategy, self.variant) if word)


_ALL = (
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
        name="steps_orders",
        joins="steps",
        says="10, 50, 100, 200, 300, 500, 800 and 1,200 buyers for 15 s each, the first 3 s not judged, each "
        "request from another account, until p95 is over 500 ms (placed: an order of one unit) or 2 s (paid: "
        "the same with a card, until it is paid), or 1 % of the buyers don't get that: what the wall is",
        load=loads.ramp((10, 50, 100, 200, 300, 500, 800, 1_200), 15, warm_up=3, each=20_000),
        quick=loads.ramp((2, 10), 3, warm_up=1, each=1_000),
        sort="orders",
        strategies=("group_commit", "pessimistic"),
        variants=("placed", "paid"),
        slowest_p95_ms={"placed": 500, "paid": 2_000},
    ),
    Scenario(
        name="orders",
        says="100 buyers for 60 s without a pause, 100 products: stock, coupon, points and card in one "
        "call, once for each `INVENTORY_STRATEGY`",
        load=loads.until_all_asked(100, 60, accounts=40_000),
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
        says="40 callers for 40 s, that rest 50 ms and come again, while in turn a web process is killed, "
        "Redis is killed, Redis is emptied, and the issuer of `queue` is killed: how long until "
        "the next coupon, at worst, and that rows = answers all the same",
        # With the rest accounts don't run out: one whose first answer was lost would count its coupon twice.
        load=loads.constant(40, 40, accounts=40_000, quantity=40_000, pause=CRASH_PAUSE_SECONDS),
        quick=loads.constant(8, 5, accounts=5_000, quantity=5_000, pause=CRASH_PAUSE_SECONDS),
        persists=True,
        meanwhile=crash.inject,
    ),
)
SCENARIOS: Mapping[str, Scenario] = {one.name: one for one in _ALL}


OFFER_SECONDS = 60


class Unknown(Exception):
    """A name that there isn't, in one line with those that there are."""


def read_offer() -> Offer:
    """The strategies of the code, without a stack, so that new ones join. Raises SetupError."""
    environment, words = os.environ | check.SETTINGS | {"LAB": "1"}, [sys.executable, "-c", PRINT_OFFER]
    ran = children.run(words, within_seconds=OFFER_SECONDS, environment=environment)
    return Offer(**json.loads(children.printed(ran).splitlines()[-1]))


def cases(offer: Offer, *, strategies: str, scenarios: str, is_quick: bool) -> list[Case]:
    """The cases in the order in which they run: a stack's together, the control last of all. Raises
    Unknown."""
    named = _names(scenarios, list(SCENARIOS), "scenario")
    wanted = [one for one in SCENARIOS.values() if one.name in named or one.joins in named]
    asked = _names(strategies, [*offer.coupons, *offer.inventory], "strategy")
    chosen = [
        Case(scenario=scenario, strategy=strategy, variant=variant, is_quick=is_quick)
        for scenario in wanted
        for strategy in scenario.fitting(offer)
        if strategy in asked
        for variant in scenario.variants
    ]
    if not chosen:
        names = ", ".join(scenario.name for scenario in wanted)
        fitting = dict.fromkeys(one for scenario in wanted for one in scenario.fitting(offer))
        raise Unknown(f"nothing of {names} fits: choose from {', '.join(fitting)}")
    return sorted(chosen, key=_place)


def _place(case: Case) -> tuple[bool, str, bool]:
    """The stack that everything but orders needs comes last."""
    inventory = case.settings["INVENTORY_STRATEGY"]
    return inventory == DEFAULT_INVENTORY, inventory, case.is_control


def _names(text: str, known: Sequence[str], kind: str) -> list[str]:
    """The names in the text, in their own order; all if there is none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = list(dict.fromkeys(known))
    if unknown := [name for name in names if name not in known]:
        raise Unknown(f"there is no {kind} {', '.join(unknown)}: choose from {', '.join(known)}")
    return [name for name in known if name in names or not names]
