"""`python3 -m lab COMMAND …`: compares, measures and breaks the shop. Without a command it lists them."""

import os
import subprocess
import sys

from scripts.stack import places

COMMANDS: dict[str, tuple[str, ...]] = {
    "compare": ("strategies of coupons and of stock, side by side", "bench", "lab.compare"),
    "bench": ("figures beside their goals, or beside another commit's", "bench", "lab.bench"),
    "profile": ("where the processor time of a request goes", "bench", "lab.bench.profile"),
    "chaos": ("crashes and campaigns of faults under load", "campaign", "lab.chaos"),
    "restore": ("a lost database, restored", "campaign", "lab.chaos", "--campaign", "restore"),
    "soak": ("ten minutes of buying, refunding and faults", "soak", "lab.chaos", "--campaign", "soak"),
    "simulate": ("seeded runs of all processes in one thread", "check", "lab.simulation"),
    "cluster": ("the shop on a cluster of each server, as root", "cluster", "lab.cluster"),
    "status": ("the running cluster's members, roles, lag and routes", "run", "lab.cluster.status"),
    "drill": ("faults of a cluster under load, as root", "cluster", "lab.cluster.drill"),
    "containers": ("the images and the compose file, as root", "containers", "lab.containers"),
    "alerts": ("each alert fires by a real cause, and clears", "alerts", "lab.alerts"),
    "fuzz": ("odd requests by operators' forms and by bytes", "bench", "lab.fuzz"),
    "verify": ("all that takes too long for each change", "tests", "lab.verify"),
}
"""What it does, what bootstrap.py installs for it, its module, and the arguments with which that begins."""


def main() -> None:
    """Become the command, once what it needs is installed."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        commands = (f"  {key:<10} {about}" for key, (about, *_) in COMMANDS.items())
        sys.exit("\n".join(["python3 -m lab COMMAND --help", *commands]))
    _, purpose, *words = COMMANDS[name]
    bootstrap = [sys.executable, str(places.PROJECT / "scripts" / "bootstrap.py"), purpose]
    if code := subprocess.run(bootstrap).returncode:
        sys.exit(code)
    python = str(places.PROJECT / ".venv" / "bin" / "python")
    os.execv(python, [python, "-m", *words, *sys.argv[2:]])


if __name__ == "__main__":
    main()
