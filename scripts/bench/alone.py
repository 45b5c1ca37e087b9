"""The row without HTTP: what issuing itself does a second, by two processes with many requests each."""

import json
import subprocess
from typing import Any

from scripts import places
from scripts.bench.measured import Measured
from scripts.bench.stage import Stage, python
from scripts.setup_error import SetupError

PATIENCE_SECONDS = 120


def measure(stage: Stage) -> Measured:
    """Ask for a coupon of each account, and count what came of it."""
    campaign = stage.campaign("alone")
    first, last = stage.staff.users[0]["id"], stage.staff.users[-1]["id"]
    told = _run(stage, "--campaign", str(campaign), "--users", f"{first}:{last}")
    issued = stage.staff.call("GET", f"/campaigns/{campaign}")["issued"]
    findings = []
    if told["outcomes"] != {"issued": issued}:
        findings.append(f"alone: {issued} coupons are issued, and the callers were told {told['outcomes']}")
    return Measured(
        row="alone",
        figures={"per_second": told["per_second"]},
        findings=findings,
        says=(
            f"a coupon takes {told['python_microseconds']:.0f} µs of processor in Python and "
            f"{told['database_microseconds']:.0f} in MariaDB, {told['commits'] / max(issued, 1):.2f} commits"
        ),
    )


def _run(stage: Stage, *words: str) -> dict[str, Any]:
    if stage.staff.users[-1]["id"] - stage.staff.users[0]["id"] != len(stage.staff.users) - 1:
        raise SetupError("the accounts' ids have gaps, and issuing_alone asks for all of a range")
    seconds = ("--seconds", str(stage.size.alone_seconds))
    ran = subprocess.run(
        python("-m", "scripts.bench.issuing_alone", *seconds, *words),
        cwd=places.PROJECT,
        env=stage.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if ran.returncode != 0:
        raise SetupError(f"issuing_alone ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    told: dict[str, Any] = json.loads(ran.stdout)
    return told
