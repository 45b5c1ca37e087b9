"""The audit of the whole shop between the lab's cases: only the control may have broken anything."""

import json
from collections.abc import Collection
from typing import Any

from scripts import database, stack
from scripts.instance import Instance
from scripts.setup_error import SetupError

AUDIT_SECONDS = 900
"""A whole run leaves a million rows to look at."""
CONTROLS = "SELECT id FROM coupons_campaign WHERE strategy = %s"
OF_CAMPAIGNS = {"L1", "L2"}
"""The laws whose offenders are campaigns: a product, or an order, may have the number of one."""


def laws(instance: Instance) -> list[dict[str, Any]]:
    """What `manage.py audit` says of every law. Raises SetupError when it says nothing."""
    ran = stack.manage(instance, "audit --json", within_seconds=AUDIT_SECONDS)
    try:
        told: list[dict[str, Any]] = json.loads(ran.stdout)["laws"]
    except ValueError:
        raise SetupError(f"audit ended with {ran.returncode}: {ran.stdout}{ran.stderr}") from None
    return told


def broken(told: list[dict[str, Any]], *, forgiven: Collection[str]) -> dict[str, str]:
    """What is said of each law that is broken by anything but the campaigns whose ids are forgiven."""
    said: dict[str, str] = {}
    for law in told:
        pardoned = forgiven if law["law"] in OF_CAMPAIGNS else ()
        offenders = [str(one) for one in law["offenders"] if str(one) not in pardoned]
        if not law["holds"] and (offenders or not law["offenders"]):
            said[law["law"]] = f"{law['law']} is broken: {', '.join(offenders[:5])}"
    return said


def controls(instance: Instance, strategy: str) -> set[str]:
    """The ids of the campaigns that are there to break laws."""
    return {str(id) for (id,) in database.rows(instance, CONTROLS, strategy)}
