"""The scenarios, which `scenarios.toml` declares, and the cases of them that `STRATEGIES=…` and `SCENARIO=…`
choose."""

import json
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.bench.stage import SETTINGS
from scripts import check
from scripts.stack import SetupError, children, own_stack

UNSAFE, DEFAULT_INVENTORY = "unsafe", "group_commit"
FINISH_SECONDS = 170
"""For callers to finish what they began: longer than their patience and one more request. A coupon of a
caller that was cut off would be missing in the count of answers."""
PRINT_OFFER = """
import json, django
django.setup()
from coupons.issuing import issuing
from orders.placement import checkout
print(json.dumps({"coupons": [*issuing.STRATEGIES], "orders": [*checkout.STRATEGIES]}))
"""


@dataclass(frozen=True, kw_only=True)
class Load:
    """As `scenarios.toml` says."""

    k6: Mapping[str, Any]
    vus: Sequence[int]
    seconds: int
    accounts: int
    quantity: int = 0
    pause: float = 0
    warm_up: int = 0
    sells_out: bool = False

    def executors(self, vus: int) -> str:
        """As k6 takes them."""
        callers = {} if "stages" in self.k6 else {"vus": vus}
        return json.dumps({"all": {**self.k6, **callers, "gracefulStop": f"{FINISH_SECONDS}s"}})


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """As `scenarios.toml` says."""

    name: str
    says: str
    full: Mapping[str, Any]
    full_k6: Mapping[str, Any]
    quick: Mapping[str, Any]
    quick_k6: Mapping[str, Any]
    sort: str = "coupons"
    strategies: Sequence[str] = ()
    variants: Sequence[str] = ("",)
    persists: bool = False
    joins: str = ""
    slowest_p95_ms: Mapping[str, int] = field(default_factory=dict)


SCENARIOS = {
    name: Scenario(name=name, **words)
    for name, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text()).items()
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the report: a strategy in a scenario."""

    scenario: Scenario
    strategy: str
    variant: str
    is_quick: bool

    @property
    def load(self) -> Load:
        of = self.scenario
        return Load(k6=of.quick_k6, **of.quick) if self.is_quick else Load(k6=of.full_k6, **of.full)

    @property
    def inventory(self) -> str:
        return self.strategy if self.scenario.sort == "orders" else DEFAULT_INVENTORY

    @property
    def settings(self) -> dict[str, str]:
        """Of the stack. No account is throttled: callers that are refused retry without a pause, for
        limits aren't compared. Expiring thousands of unpaid orders would slow the next rows down."""
        hold = {"ORDER_HOLD_SECONDS": SETTINGS["ORDER_HOLD_SECONDS"]}
        return {"LAB": "1", "INVENTORY_STRATEGY": self.inventory, **hold, **own_stack.NO_RATES}

    @property
    def is_control(self) -> bool:
        """Whether it is expected to break laws."""
        return self.scenario.sort == "coupons" and self.strategy == UNSAFE

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.scenario.name, self.strategy, self.variant)))


def read_offer() -> dict[str, list[str]]:
    """The strategies of the code by what is bought, without a stack, so that new ones join."""
    environment = os.environ | check.SETTINGS | {"LAB": "1"}
    ran = children.run([sys.executable, "-c", PRINT_OFFER], within_seconds=60, environment=environment)
    offer: dict[str, list[str]] = json.loads(children.printed(ran).splitlines()[-1])
    return offer


def cases(
    offer: Mapping[str, Sequence[str]], *, strategies: str, scenarios: str, is_quick: bool
) -> list[Case]:
    """In the order in which they run: a stack's together, that of everything but orders last, and the control
    last of all. Raises SetupError for a name that there isn't."""
    known = {name: None for each in offer.values() for name in each}
    asked, named = (text.split(",") if text else [] for text in (strategies, scenarios))
    if unknown := {*asked} - known.keys() | {*named} - SCENARIOS.keys():
        raise SetupError(f"there is no {unknown}: choose from {[*SCENARIOS]} and {[*known]}")
    chosen = [
        Case(scenario=one, strategy=strategy, variant=variant, is_quick=is_quick)
        for one in SCENARIOS.values()
        for strategy in offer[one.sort]
        for variant in one.variants
        if not named or {one.name, one.joins} & {*named}
        if strategy in (asked or known)
        if strategy in (one.strategies or {*known} - {UNSAFE} | ({UNSAFE} if one.name == "race" else set()))
    ]
    return sorted(chosen, key=lambda one: (one.inventory == DEFAULT_INVENTORY, one.inventory, one.is_control))
