"""The row of the limits: what they cost a coupon and an order."""

import json
import subprocess

from scripts import places
from scripts.bench.measured import Measured
from scripts.bench.stage import Stage, python
from scripts.setup_error import SetupError

PATIENCE_SECONDS = 120


def measure(stage: Stage) -> Measured:
    """What the limits add to a call, on the tables as they are. Raises SetupError."""
    first, last = stage.staff.users[0]["id"], stage.staff.users[-1]["id"]
    ran = subprocess.run(
        python("-m", "scripts.bench.limits_alone", "--users", f"{first}:{last}"),
        cwd=places.PROJECT,
        env=stage.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if ran.returncode != 0:
        raise SetupError(f"limits_alone ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    measured = json.loads(ran.stdout)
    return Measured(
        row="limits",
        figures={f"{name}_microseconds": one["python"] for name, one in measured.items()},
        says="; ".join(
            f"of {name}s {one['redis']:.1f} µs more in Redis and {one['database']:.1f} in MariaDB"
            for name, one in measured.items()
        ),
    )
