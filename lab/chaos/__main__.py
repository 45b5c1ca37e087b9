"""`make chaos` and `make soak`: a campaign of `plans`, or `all` twelve, each in a process of its own.

With PLANTED=1 a campaign runs with its planted defect, and fails unless that is found.
"""

import argparse
import os
import random
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from subprocess import Popen

from lab.chaos.campaigns.plans import CAMPAIGNS, TRIALS
from lab.chaos.campaigns.run import HEADER, Campaign
from scripts.stack import children, own_stack, places, system_packages
from scripts.stack.children import say
from scripts.stack.instance import Instance

STOP_SECONDS = 60
"""How long a campaign may take to stop its stack."""


def main() -> int:
    """The exit code. An empty option is its default."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Break the shop under load.")
    parser.add_argument("--campaign", choices=[*TRIALS, *CAMPAIGNS, "all"], required=True)
    parser.add_argument("--broker", choices=["", "redis", "rabbitmq"], default="")
    for name in ("db", "seconds", "quick", "planted", "seed", "part"):
        parser.add_argument(f"--{name}", default="")
    asked = parser.parse_args()
    asked.seed = asked.seed or str(random.SystemRandom().randrange(10**6))
    if asked.campaign == "all":
        return children.run_command("make chaos", partial(run_all, asked))
    campaign = (TRIALS | CAMPAIGNS)[asked.campaign]

    def run(instance: Instance) -> int:
        more = {name: getattr(asked, name) for name in ("quick", "planted", "seconds", "broker")}
        return campaign.kind(campaign, instance, asked.seed, **more).run()

    # On a stack in a new folder, which is kept when it fails.
    database = asked.db or campaign.kind.database
    return own_stack.measure(campaign.name, "campaign", run, database=database, keeps_failed=True)


def run_all(asked: argparse.Namespace) -> int:
    """The output of each campaign that can run here, then all rows; the highest exit code."""
    options = ["--quick", asked.quick, "--planted", asked.planted, "--seed", asked.seed]
    folder, running = places.private_folder(places.state()), list[Popen[bytes]]()

    def run_apart(name: str) -> tuple[int, str]:
        """Its exit code, and its row in the table."""
        log = folder / f"campaign-{name}-{os.getpid()}.log"
        command = [sys.executable, "-m", "lab.chaos", "--campaign", name, *options]
        running.append(child := children.start(command, log=log, when_parent_dies=signal.SIGTERM))
        code, text = child.wait(), log.read_text()
        log.unlink()
        say(text.rstrip() + (f"\n{name}: FAILED with exit code {code}" if code else ""))
        rows = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
        return abs(code), [f"| {name} | no result: exit code {code} |", *rows][-1]

    chosen = [one.name for one in own_stack.chosen([*CAMPAIGNS.values()], asked.part) if can_run(one)]
    threads = ThreadPoolExecutor(2 if asked.quick else 1)
    try:
        ended = [*threads.map(run_apart, chosen)]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for child in running:
            if child.poll() is None:
                children.stop(child, within_seconds=STOP_SECONDS)
    say("\n".join(["all campaigns:", HEADER, *(row for _, row in ended)]))
    return max((code for code, _ in ended), default=0)


def can_run(campaign: Campaign) -> bool:
    """Whether it can run here; prints why not."""
    of_system = [name for name in campaign.kind.needs if name != "root"]
    missing = [f"{package} not installed" for package in system_packages.missing("mariadb", *of_system)]
    missing += ["a file system takes root"] if "root" in campaign.kind.needs and os.getuid() else []
    if missing:
        say(f"{campaign.name}: NOT RUN: {', '.join(missing)}")
    return not missing


if __name__ == "__main__":
    sys.exit(main())
