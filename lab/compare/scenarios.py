"""The scenarios, which `scenarios.toml` declares, and the cases of them that `STRATEGIES=…` and `SCENARIO=…`
choose."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
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
USUAL: dict[str, Any] = {"sort": "coupons", "quantity": 0, "pause": 0, "warm_up": 0, "slowest_p95_ms": {}}
USUAL |= {"persists": False, "sells_out": False}


class Case(SimpleNamespace):
    """One row of the report: a strategy in a scenario, and the scenario's load as `scenarios.toml` says."""

    def executors(self, vus: int) -> str:
        """As k6 takes them."""
        callers = {} if "stages" in self.k6 else {"vus": vus}
        return json.dumps({"all": {**self.k6, **callers, "gracefulStop": f"{FINISH_SECONDS}s"}})

    @property
    def settings(self) -> dict[str, str]:
        """Of the stack. No account is throttled: callers that are refused retry without a pause, for limits
        aren't compared."""
        return {"INVENTORY_STRATEGY": self.inventory, **stage.SETTINGS, **own_stack.NO_RATES}


def cases(*, strategies: str, scenarios: str, is_quick: bool) -> list[Case]:
    """In the order in which they run: a stack's together, that of everything but orders last, and the control
    last of all. Raises SetupError for a name that there isn't."""
    known, chosen = {name for each in STRATEGIES.values() for name in each}, list[Case]()
    asked, named = ({*text.split(",")} - {""} for text in (strategies, scenarios))
    if unknown := asked - known | named - SCENARIOS.keys():
        raise SetupError(f"there is no {unknown}: choose from {[*SCENARIOS]} and {sorted(known)}")
    for scenario, words in SCENARIOS.items():
        if named and not {scenario, words.get("joins")} & named:
            continue
        load = {**USUAL, **words} | (words["quick"] if is_quick else {}) | {"is_quick": is_quick}
        # The control is expected to break laws.
        some = known if "control" in words else known - {UNSAFE}
        some &= (asked or known) & {*words.get("strategies", known)}
        for strategy in (one for one in STRATEGIES[load["sort"]] if one in some):
            load |= {"scenario": scenario, "strategy": strategy, "is_control": strategy == UNSAFE}
            load["inventory"] = strategy if load["sort"] == "orders" else DEFAULT_INVENTORY
            for variant in words.get("variants", [""]):
                name = " ".join(filter(None, (scenario, strategy, variant)))
                chosen.append(Case(**load, variant=variant, name=name))
    return sorted(chosen, key=lambda one: (one.inventory == DEFAULT_INVENTORY, one.inventory, one.is_control))
