"""`make chaos CAMPAIGN=… SEED=… [QUICK=1] [PLANTED=1] [PART=]`, for a campaign of `plans.CAMPAIGNS` or `all`.

With PLANTED=1 the campaign runs with its planted defect, and fails unless that is found.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab.chaos.campaigns.plans import CAMPAIGNS
from lab.chaos.campaigns.run import HEADER, Campaign, say
from scripts.stack import children, own_stack, parts, places, system_packages
from scripts.stack.system_packages import Needs

STOP_SECONDS = 60
"""How long a campaign may take to stop its stack."""


def main() -> int:
    """The process behind `make chaos CAMPAIGN=…`; its exit code."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Faults of one kind under load.")
    parser.add_argument("--campaign", choices=[*CAMPAIGNS, "all"], required=True)
    for name in ("quick", "planted", "seed", "part"):
        parser.add_argument(f"--{name}", default="")
    asked = parser.parse_args()
    asked.seed = asked.seed or str(random.SystemRandom().randrange(10**6))
    run = run_all if asked.campaign == "all" else run_one
    return children.run_command("make chaos", lambda: run(asked))


def run_one(asked: argparse.Namespace) -> int:
    """Run the campaign on a stack in a new folder, kept when it fails; its exit code."""
    campaign, of = (
        CAMPAIGNS[asked.campaign],
        {"is_quick": bool(asked.quick), "is_planted": bool(asked.planted)},
    )
    run = lambda instance: campaign.kind(campaign, instance, asked.seed, **of).run()  # noqa: E731
    return own_stack.measure(campaign.name, "campaign", run, keeps_failed=True)


def run_all(asked: argparse.Namespace) -> int:
    """A process for each campaign that can run here: the output of each, then all rows; the highest code."""
    waiting = [one for one in parts.chosen([*CAMPAIGNS.values()], asked.part) if can_run(one)]
    folder, rows, codes = places.private_folder(places.state()), [HEADER], [0]
    running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
    options = ["--quick", asked.quick, "--planted", asked.planted, "--seed", asked.seed]
    try:
        while waiting or running:
            while waiting and len(running) < (2 if asked.quick else 1):
                name = waiting.pop(0).name
                log = folder / f"campaign-{name}-{os.getpid()}.log"
                log.write_bytes(b"")
                command = [sys.executable, "-m", "lab.chaos.campaigns", "--campaign", name, *options]
                running[name] = children.start(command, log=log, when_parent_dies=signal.SIGTERM), log
            for name, (child, log) in [*running.items()]:
                if (code := child.poll()) is not None:
                    del running[name]
                    codes.append(abs(code))
                    rows += show(name, log, code)
            time.sleep(0.5)
    finally:
        for name, (child, log) in running.items():
            children.stop(child, within_seconds=STOP_SECONDS)
            show(name, log, child.returncode)
    say("\n".join(["all campaigns:", *rows]))
    return max(codes)


def can_run(campaign: Campaign) -> bool:
    """Whether it can run here; prints why not."""
    of_system = {name: True for name in campaign.needs if name != "root"}
    missing = [f"{package} not installed" for package in system_packages.missing(Needs(**of_system))]
    missing += ["a file system takes root"] if "root" in campaign.needs and os.getuid() else []
    if missing:
        say(f"{campaign.name}: NOT RUN: {', '.join(missing)}")
    return not missing


def show(name: str, log: Path, code: int) -> Sequence[str]:
    """Print the output, and remove its file; the campaign's row, or that it has none."""
    text = log.read_text()
    log.unlink()
    say(text.rstrip() + (f"\n{name}: FAILED with exit code {code}" if code else ""))
    rows = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return rows or [f"| {name} | no result: exit code {code} |"]


if __name__ == "__main__":
    sys.exit(main())
