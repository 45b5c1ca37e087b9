"""The scenarios in the order in which they run: what each says, its load, and what of it is otherwise in
seconds (`QUICK`).

A load is an executor in k6's words; for callers to finish what they began it has 170 s: longer than their
patience and one more request. If accounts run out their requests are repeated: answers 200 count them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Executor = Mapping[str, Any]  # As k6 has it


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a scenario's variant is beside others, which run one by one."""

    name: str = ""
    terms: Mapping[str, Any] = field(default_factory=dict)  # of its campaign
    pays: bool = True  # orders
    slowest_p95_ms: int = 0  # a p95 over it ends the steps; 0 for no bound


@dataclass(frozen=True, kw_only=True)
class Scenario:
    name: str
    says: str
    k6: Executor
    vus: Sequence[int]  # callers; several are steps, up to the first that is too slow
    seconds: int
    accounts: int
    sort: Literal["coupons", "orders"] = "coupons"
    quantity: int = 0  # of coupons; 0 for as many as accounts
    pause: float = 0  # a caller's rest
    warm_up: int = 0  # seconds of a step that aren't judged
    persists: bool = False  # callers retry until they have their coupon or none is left
    sells_out: bool = False  # there are more patient callers than coupons, so none may be left
    strategies: Sequence[str] = ()  # all, where none is named
    variants: Sequence[Variant] = (Variant(),)
    is_control: bool = False  # `unsafe` runs in it
    joins: str = ""  # it also runs where that scenario is asked for


def _once_each(iterations: int) -> Executor:
    return {"executor": "per-vu-iterations", "iterations": iterations, "maxDuration": "170s"}


def _shared(iterations: int, seconds: int) -> Executor:
    return {"executor": "shared-iterations", "iterations": iterations, "maxDuration": f"{seconds}s"}


def _constant(seconds: int) -> Executor:
    return {"executor": "constant-vus", "duration": f"{seconds}s"}


def _ramp(callers: int, *, within_seconds: int, seconds: int) -> Executor:
    stages = [
        {"duration": f"{within_seconds}s", "target": callers},
        {"duration": f"{seconds}s", "target": callers},
    ]
    return {"executor": "ramping-vus", "startVUs": 0, "stages": stages}


RACE = Scenario(
    name="race",
    says="200 accounts at once, quantity 100: 100 are issued, and 100 find it sold out",
    is_control=True,
    k6=_once_each(1),
    vus=[200],
    seconds=4,
    accounts=200,
    quantity=100,
    sells_out=True,
)
QUICK_RACE = replace(RACE, vus=[60], seconds=2, accounts=60, quantity=30)
PACED = Scenario(
    name="paced",
    says="100 callers, 1,000 requests, 1 s pause: p50, p95, max",
    k6=_once_each(10),
    vus=[100],
    seconds=12,
    accounts=1000,
    pause=1.0,
)
QUICK_PACED = replace(PACED, k6=_once_each(2), vus=[20], seconds=1, accounts=40, pause=0.2)
CROWD = Scenario(
    name="crowd",
    says=(
        "10 s to 2,000 callers, 80 s with all of them, 1 s pause, quantity 100,000: requests a second, p95, "
        "refusals by code, rows = answers"
    ),
    k6=_ramp(2000, within_seconds=10, seconds=80),
    vus=[2000],
    seconds=90,
    accounts=100000,
    pause=1.0,
)
QUICK_CROWD = replace(
    CROWD,
    k6=_ramp(40, within_seconds=1, seconds=1),
    vus=[40],
    seconds=2,
    accounts=500,
    quantity=80,
    pause=0.2,
)
STEADY = Scenario(
    name="steady",
    says="100 callers for 60 s without a pause: requests a second, p50, p95, max",
    k6=_constant(60),
    vus=[100],
    seconds=60,
    accounts=60000,
)
QUICK_STEADY = replace(STEADY, k6=_constant(1), vus=[10], seconds=1, accounts=2000)
POOL = Scenario(
    name="pool",
    says=(
        "1,500 callers at once, 1,000 coupons, with a partner that fails one call in ten and without: 1,000 "
        "issued when callers come again, none lost, none twice"
    ),
    variants=[Variant(), Variant(name="partner", terms={"partner": "convenience_store"})],
    persists=True,
    k6=_once_each(1),
    vus=[1500],
    seconds=12,
    accounts=1500,
    quantity=1000,
    sells_out=True,
)
QUICK_POOL = replace(POOL, vus=[60], seconds=3, accounts=60, quantity=40)
STEPS = Scenario(
    name="steps",
    says=(
        "10, 50, 100, 200 and 300 callers for 5 s each: where throughput stops growing, and where p95 breaks"
    ),
    k6=_shared(12000, 5),
    vus=[10, 50, 100, 200, 300],
    seconds=5,
    accounts=60000,
)
QUICK_STEPS = replace(STEPS, k6=_shared(1000, 1), vus=[5, 20], seconds=1, accounts=2000)
STEPS_ORDERS = Scenario(
    name="steps_orders",
    says=(
        "10, 50, 100, 200, 300, 500, 800 and 1,200 buyers for 15 s each, the first 3 s not judged, each "
        "request from another account, until p95 is over 500 ms (placed: an order of one unit) or 2 s (paid: "
        "the same with a card, until it is paid), or 1 % of the buyers don't get that: what the wall is"
    ),
    joins="steps",
    strategies=["group_commit", "pessimistic"],
    variants=[
        Variant(name="placed", pays=False, slowest_p95_ms=500),
        Variant(name="paid", slowest_p95_ms=2000),
    ],
    sort="orders",
    k6=_shared(20000, 15),
    vus=[10, 50, 100, 200, 300, 500, 800, 1200],
    seconds=15,
    accounts=160000,
    warm_up=3,
)
QUICK_STEPS_ORDERS = replace(
    STEPS_ORDERS, k6=_shared(1000, 3), vus=[2, 10], seconds=3, accounts=2000, warm_up=1
)
ORDERS = Scenario(
    name="orders",
    says=(
        "100 buyers for 60 s without a pause, 100 products: stock, coupon, points and card in one call, once "
        "for each `INVENTORY_STRATEGY`"
    ),
    sort="orders",
    k6=_shared(40000, 60),
    vus=[100],
    seconds=60,
    accounts=40000,
)
QUICK_ORDERS = replace(ORDERS, k6=_shared(60, 2), vus=[8], seconds=2, accounts=60)
BASELINE = Scenario(
    name="baseline",
    says="1,000 callers for 30 s, 1 s pause, quantity 30,000: how many rows `unsafe` gets wrong",
    strategies=["group_commit", "unsafe"],
    is_control=True,
    k6=_constant(30),
    vus=[1000],
    seconds=30,
    accounts=30000,
    pause=1.0,
)
QUICK_BASELINE = replace(BASELINE, k6=_constant(1), vus=[20], seconds=1, accounts=200, quantity=50, pause=0.1)
# With the rest accounts don't run out: one whose first answer was lost would count its coupon twice.
CRASH = Scenario(
    name="crash",
    says=(
        "40 callers for 40 s, that rest 50 ms and come again, while in turn a web process is killed, Redis "
        "is killed, Redis is emptied, and the issuer of `queue` is killed: how long until the next coupon, "
        "at worst, and that rows = answers all the same"
    ),
    persists=True,
    k6=_constant(40),
    vus=[40],
    seconds=40,
    accounts=40000,
    pause=0.05,
)
QUICK_CRASH = replace(CRASH, k6=_constant(5), vus=[8], seconds=5, accounts=5000)

_ALL = (RACE, PACED, CROWD, STEADY, POOL, STEPS, STEPS_ORDERS, ORDERS, BASELINE, CRASH)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
_ALL_QUICK = (
    QUICK_RACE,
    QUICK_PACED,
    QUICK_CROWD,
    QUICK_STEADY,
    QUICK_POOL,
    QUICK_STEPS,
    QUICK_STEPS_ORDERS,
    QUICK_ORDERS,
    QUICK_BASELINE,
    QUICK_CRASH,
)
QUICK = {scenario.name: scenario for scenario in _ALL_QUICK}
