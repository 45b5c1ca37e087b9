"""The cases that `STRATEGIES=…` and `SCENARIO=…` ask for, of the strategies that the shop offers."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from scripts import check
from scripts.lab.scenarios import DEFAULT_INVENTORY, SCENARIOS, Case, Offer
from scripts.stack import SetupError, places

ASK = """
import json, django
django.setup()
from coupons.issuing import issuing
from orders.placement import checkout
print(json.dumps({"coupons": [*issuing.STRATEGIES], "inventory": [*checkout.STRATEGIES]}))
"""


class Unknown(Exception):
    """A name that there isn't, in one line with those that there are."""


def read_offer() -> Offer:
    """What the code has here and now, without a stack: the lab names no strategy by itself, so new ones join.

    Raises SetupError when it doesn't even load.
    """
    environment = os.environ | check.SETTINGS | {"LAB": "1"}
    asked = subprocess.run(
        [sys.executable, "-c", ASK], cwd=places.PROJECT, env=environment, capture_output=True, text=True
    )
    if asked.returncode != 0:
        raise SetupError(f"the shop's code can't be loaded:\n{asked.stderr[-2000:]}")
    return Offer(**json.loads(asked.stdout.splitlines()[-1]))


def cases(offer: Offer, *, strategies: str, scenarios: str, is_quick: bool) -> list[Case]:
    """The cases in the order in which they run: those of one stack together, the control last of all.

    Raises Unknown.
    """
    wanted = _names(scenarios, list(SCENARIOS), "scenario")
    asked = _names(strategies, list(dict.fromkeys([*offer.coupons, *offer.inventory])), "strategy")
    chosen = [
        Case(scenario=SCENARIOS[name], strategy=strategy, variant=variant, is_quick=is_quick)
        for name in wanted
        for strategy in SCENARIOS[name].fitting(offer)
        if strategy in asked
        for variant in SCENARIOS[name].variants
    ]
    if not chosen:
        fitting = list(dict.fromkeys(one for name in wanted for one in SCENARIOS[name].fitting(offer)))
        raise Unknown(f"nothing of {', '.join(wanted)} fits: choose from {', '.join(fitting)}")
    return sorted(chosen, key=_place)


def _place(case: Case) -> tuple[bool, str, bool]:
    """The stack that everything but orders needs comes last."""
    inventory = case.settings["INVENTORY_STRATEGY"]
    return inventory == DEFAULT_INVENTORY, inventory, case.is_control


def _names(asked: str, known: Sequence[str], kind: str) -> list[str]:
    """The names in their own order, all where none is asked for."""
    names = [name.strip() for name in asked.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Unknown(f"there is no {kind} {', '.join(unknown)}: choose from {', '.join(known)}")
    return [name for name in known if name in names] if names else list(known)
