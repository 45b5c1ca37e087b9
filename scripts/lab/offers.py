"""The strategies that the shop offers here and now: the lab names none by itself, so new ones join."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from scripts import check, places
from scripts.setup_error import SetupError

ASK = """
import json, django
django.setup()
from coupons.issuing import issuing
from orders.placement import checkout
print(json.dumps({"coupons": [*issuing.STRATEGIES], "inventory": [*checkout.STRATEGIES]}))
"""


@dataclass(frozen=True)
class Offer:
    """Names of strategies: for issuing coupons, and for reserving stock."""

    coupons: Sequence[str]
    inventory: Sequence[str]


def ask() -> Offer:
    """What the code has, without a stack. Raises SetupError when it doesn't even load."""
    environment = os.environ | check.SETTINGS | {"LAB": "1"}
    asked = subprocess.run(
        [sys.executable, "-c", ASK], cwd=places.PROJECT, env=environment, capture_output=True, text=True
    )
    if asked.returncode != 0:
        raise SetupError(f"the shop's code can't be loaded:\n{asked.stderr[-2000:]}")
    return Offer(**json.loads(asked.stdout.splitlines()[-1]))
