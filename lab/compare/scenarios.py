"""The scenarios, which `scenarios.toml` declares, and the cases of them that `STRATEGIES=…` and `SCENARIO=…`
choose."""

import json
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lab import stage
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
SCENARIOS: Mapping[str, Mapping[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the report: a strategy in a scenario, and the scenario's load as `scenarios.toml` says."""

    scenario: str
    strategy: str
    variant: str
    is_quick: bool
    k6: Mapping[str, Any]
    vus: Sequence[int]
    seconds: int
    accounts: int
    quantity: int = 0
    pause: float = 0
    warm_up: int = 0
    sort: str = "coupons"
    persists: bool = False
    sells_out: bool = False
    slowest_p95_ms: Mapping[str, int] = field(default_factory=dict)

    def executors(self, vus: int) -> str:
        """As k6 takes them."""
        callers = {} if "stages" in self.k6 else {"vus": vus}
        return json.dumps({"all": {**self.k6, **callers, "gracefulStop": f"{FINISH_SECONDS}s"}})

    @property
    def inventory(self) -> str:
        return self.strategy if self.sort == "orders" else DEFAULT_INVENTORY

    @property
    def settings(self) -> dict[str, str]:
        """Of the stack. No account is throttled: callers that are refused retry without a pause, for limits
        aren't compared."""
        return {"INVENTORY_STRATEGY": self.inventory, **stage.SETTINGS, **own_stack.NO_RATES}

    @property
    def is_control(self) -> bool:
        """Whether it is expected to break laws."""
        return self.sort == "coupons" and self.strategy == UNSAFE

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.scenario, self.strategy, self.variant)))


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
    known = {name for each in offer.values() for name in each}
    asked, named = ({*text.split(",")} - {""} for text in (strategies, scenarios))
    if unknown := asked - known | named - SCENARIOS.keys():
        raise SetupError(f"there is no {unknown}: choose from {[*SCENARIOS]} and {sorted(known)}")
    chosen, of_load = [], {one.name for one in fields(Case)}
    for scenario, words in SCENARIOS.items():
        if named and not {scenario, words.get("joins")} & named:
            continue
        load = {name: word for name, word in words.items() if name in of_load}
        load |= words["quick"] if is_quick else {}
        chosen += [
            Case(scenario=scenario, strategy=strategy, variant=variant, is_quick=is_quick, **load)
            for strategy in offer[load.get("sort", "coupons")]
            for variant in words.get("variants", [""])
            if strategy in (asked or known) and strategy in words.get("strategies", known)
            if strategy != UNSAFE or words.get("control")
        ]
    return sorted(chosen, key=lambda one: (one.inventory == DEFAULT_INVENTORY, one.inventory, one.is_control))
