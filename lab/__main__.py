"""`python3 -m lab COMMAND …`: compares, measures and breaks the shop. Without a command it lists them."""

import os
import subprocess
import sys

from scripts.stack import places

COMMANDS = {
    "compare": ("bench", "lab.compare", "strategies of coupons and of stock, side by side"),
    "bench": ("bench", "lab.bench", "figures beside their goals, or beside another commit's"),
    "profile": ("bench", "lab.bench.profile", "where the processor time of a request goes"),
    "chaos": (
        "campaign",
        "lab.chaos",
        "kill, freeze, stop under load: a minute; a --campaign: up to an hour",
    ),
    "restore": ("campaign", "lab.chaos --campaign restore", "lose a database, restore it: 4 minutes"),
    "soak": ("soak", "lab.chaos --campaign soak", "10 minutes of faults: availability, dashboards"),
    "simulate": ("check", "lab.simulation", "seeded runs of all processes in one thread"),
    "cluster": ("cluster", "lab.cluster", "the shop on a cluster of each server, as root"),
    "status": ("run", "lab.cluster.status", "what the running cluster has and lacks, at once; --json"),
    "drill": ("cluster", "lab.cluster.drill", "faults of a cluster under load, as root"),
    "containers": ("containers", "lab.containers", "the images and the compose file, as root"),
    "alerts": ("alerts", "lab.alerts", "each alert fires by a real cause, and clears"),
    "fuzz": ("bench", "lab.fuzz", "odd requests by operators' forms and by bytes"),
    "verify": ("tests", "lab.verify", "all that takes too long for each change"),
}
"""What bootstrap.py installs for it, its module and first arguments, and what it does."""


def main() -> None:
    name, *words = sys.argv[1:] or [""]
    if name not in COMMANDS:
        lines = [f"  {one:<10} {about}" for one, (_, _, about) in COMMANDS.items()]
        print("\n".join(["python3 -m lab COMMAND --help", *lines]))
        sys.exit(0 if name in ("", "--help") else 2)
    purpose, command, about = COMMANDS[name]
    if "--help" in words:
        print(f"python3 -m lab {name}: {about}\n", flush=True)
    if name == "status" and "--help" in words:
        return
    bootstrap = subprocess.run([sys.executable, str(places.PROJECT / "scripts" / "bootstrap.py"), purpose])
    if bootstrap.returncode:
        sys.exit(bootstrap.returncode)
    python = str(places.PROJECT / ".venv" / "bin" / "python")
    os.execv(python, [python, "-m", *command.split(), *words])


if __name__ == "__main__":
    main()
