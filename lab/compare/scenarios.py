"""The scenarios, which `scenarios.toml` declares, and the cases of them that `STRATEGIES=…` and `SCENARIO=…`
choose."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lab import stage
from scripts.stack import SetupError, own_stack
from scripts.stack.places import PROJECT

UNSAFE, DEFAULT_INVENTORY = "unsafe", "group_commit"
FINISH_SECONDS = 170
"""For callers to finish what they began: longer than their patience and one more request. A coupon of a
caller that was cut off would be missing in the count of answers."""
FOLDERS = {"coupons": "coupons/issuing/strategies", "orders": "orders/placement/strategies"}
STRATEGIES = {
    sort: sorted(path.stem for path in (PROJECT / folder).glob("[a-z]*.py"))
    for sort, folder in FOLDERS.items()
}
"""By what is bought: each module there is one, so that new ones join."""
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
        return self.strategy == UNSAFE

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.scenario, self.strategy, self.variant)))


def cases(*, strategies: str, scenarios: str, is_quick: bool) -> list[Case]:
    """In the order in which they run: a stack's together, that of everything but orders last, and the control
    last of all. Raises SetupError for a name that there isn't."""
    known, of_load = (
        {name for each in STRATEGIES.values() for name in each},
        {one.name for one in fields(Case)},
    )
    asked, named = ({*text.split(",")} - {""} for text in (strategies, scenarios))
    if unknown := asked - known | named - SCENARIOS.keys():
        raise SetupError(f"there is no {unknown}: choose from {[*SCENARIOS]} and {sorted(known)}")
    chosen = list[Case]()
    for scenario, words in SCENARIOS.items():
        if named and not {scenario, words.get("joins")} & named:
            continue
        load = {name: word for name, word in words.items() if name in of_load}
        load |= words["quick"] if is_quick else {}
        chosen += [
            Case(scenario=scenario, strategy=strategy, variant=variant, is_quick=is_quick, **load)
            for strategy in STRATEGIES[load.get("sort", "coupons")]
            for variant in words.get("variants", [""])
            if strategy in (asked or known) and strategy in words.get("strategies", known)
            if strategy != UNSAFE or words.get("control")
        ]
    return sorted(chosen, key=lambda one: (one.inventory == DEFAULT_INVENTORY, one.inventory, one.is_control))
