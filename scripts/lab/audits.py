"""The audit of the whole shop between the lab's cases: only the control may have broken anything."""

import json
from collections.abc import Collection, Iterator
from typing import Any

from scripts import stack
from scripts.instance import Instance
from scripts.lab import database
from scripts.setup_error import SetupError

AUDIT_SECONDS = 900
"""A whole run leaves a million rows to look at."""
CONTROLS = "SELECT id FROM coupons_campaign WHERE strategy = %s"


def laws(instance: Instance) -> list[dict[str, Any]]:
    """What `manage.py audit` says of every law. Raises SetupError when it says nothing."""
    ran = stack.manage(instance, "audit --json", within_seconds=AUDIT_SECONDS)
    try:
        told: list[dict[str, Any]] = json.loads(ran.stdout)["laws"]
    except ValueError:
        raise SetupError(f"audit ended with {ran.returncode}: {ran.stdout}{ran.stderr}") from None
    return told


def broken(told: list[dict[str, Any]], *, forgiven: Collection[str]) -> Iterator[str]:
    """Each law that is broken by anything but the campaigns whose ids are forgiven."""
    for law in told:
        offenders = [str(one) for one in law["offenders"] if str(one) not in forgiven]
        if not law["holds"] and (offenders or not law["offenders"]):
            yield f"{law['law']} is broken: {', '.join(offenders[:5])}"


def controls(instance: Instance, strategy: str) -> set[str]:
    """The ids of the campaigns that are there to break laws."""
    return {str(id) for (id,) in database.rows(instance, CONTROLS, strategy)}
