"""What figures were measured on, told with them: rows of one report may be of different days."""

import re
import subprocess
from typing import Any

from scripts import database, machine
from scripts import environment as environments
from scripts.instance import Instance
from scripts.processes import command


def of(instance: Instance, *, load_before: float) -> dict[str, Any]:
    """The commit and the circumstances; `load_before` is the load average before the measuring."""
    return {
        "commit": machine.commit(),
        "circumstances": {
            "cores": machine.cores(),
            "memory_gib": round(machine.memory_gib()),
            "processor": machine.processor(),
            "system": machine.system(),
            "load_before": round(load_before, 1),
            "versions": {
                "MariaDB": database.version(instance),
                "Redis": _redis(instance),
                **machine.versions(),
            },
        },
    }


def _redis(instance: Instance) -> str:
    """The version of the server program that the stack runs."""
    program = command("redis", instance, environments.defaults(instance))[0]
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\S+)", told)
    return found[1] if found else "unknown"
