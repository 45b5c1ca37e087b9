"""`python3 -m lab COMMAND …`: compares, measures and breaks the shop. Without a command it lists them."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.stack import places


@dataclass(frozen=True)
class Command:
    """A module of the lab, the arguments that it begins with, and what bootstrap.py installs for it."""

    about: str
    module: str
    purpose: str
    first: Sequence[str] = ()


COMMANDS: Mapping[str, Command] = {
    "compare": Command("strategies of coupons and of stock, side by side", "lab.compare", "bench"),
    "bench": Command("figures beside their goals, or beside another commit's", "lab.bench", "bench"),
    "chaos": Command("crashes and campaigns of faults under load", "lab.chaos", "campaign"),
    "restore": Command("a lost database, restored", "lab.chaos", "campaign", ("--campaign", "restore")),
    "soak": Command(
        "ten minutes of buying, refunding and faults", "lab.chaos", "soak", ("--campaign", "soak")
    ),
    "simulate": Command("seeded runs of all processes in one thread", "lab.simulation", "check"),
    "cluster": Command("the shop on a cluster of each server, as root", "lab.cluster", "cluster"),
    "status": Command("the running cluster's members, roles, lag and routes", "lab.cluster.status", "run"),
    "drill": Command("faults of a cluster under load, as root", "lab.cluster.drill", "cluster"),
    "containers": Command("the images and the compose file, as root", "lab.containers", "containers"),
    "alerts": Command("each alert fires by a real cause, and clears", "lab.alerts", "alerts"),
    "fuzz": Command("odd requests by the API's document, by forms and by bytes", "lab.fuzz", "bench"),
    "verify": Command("all that takes too long for each change", "lab.verify", "tests"),
}


def main() -> None:
    """Become the command, once what it needs is installed."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        commands = (f"  {key:<10} {one.about}" for key, one in COMMANDS.items())
        sys.exit("\n".join(["python3 -m lab COMMAND --help", *commands]))
    command = COMMANDS[name]
    if code := subprocess.run(
        [sys.executable, places.PROJECT / "scripts" / "bootstrap.py", command.purpose]
    ).returncode:
        sys.exit(code)
    python = str(places.PROJECT / ".venv" / "bin" / "python")
    os.execv(python, [python, "-m", command.module, *command.first, *sys.argv[2:]])


if __name__ == "__main__":
    main()
