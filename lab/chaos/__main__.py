"""`make chaos` and `make soak`: a campaign of `catalog`, or `all`, each in a process of its own.

With PLANTED=1 a campaign runs with its planted defect, and fails unless that is found.
"""

import argparse
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from subprocess import Popen
from typing import NamedTuple

from lab.chaos.campaigns.catalog import CAMPAIGNS, TRIALS
from lab.chaos.campaigns.run import HEADER, Campaign
from scripts import changes, options
from scripts.stack import Lines, children, own_stack, places, system_packages
from scripts.stack.children import say
from scripts.stack.instance import Instance

STOP_SECONDS = 60
LAST_LINES = 5  # How many lines of a campaign that failed without a finding are printed again in the end
MOST_TOUCHED = 3  # How many campaigns run because a change touches them, beside those whose turn it is


def main() -> int:
    parser = options.parser(
        "python3 -m lab chaos",
        flags=["quick", "planted"],
        db="of chaos: sqlite or mariadb",
        seconds="how long chaos and soak make faults: 60 and 600",
        quick="1: a tenth of a campaign's faults, and shorter ones",
        planted="1: with the campaign's planted defect, which is to be found",
        seed="the same faults in the same order again",
        part="of all campaigns every twelfth from the third on: 3/12",
        since="with a part: a commit; also the campaigns that changes since then touch",
    )
    parser.add_argument("--campaign", choices=[*TRIALS, *CAMPAIGNS, "all"], default="chaos")
    parser.add_argument("--broker", choices=["", "redis", "rabbitmq"], default="", help="of chaos and soak")
    asked = parser.parse_args()
    asked.seed = options.seed(asked)
    if asked.campaign == "all":
        return children.run_command("make chaos", partial(run_all, asked))
    campaign = (TRIALS | CAMPAIGNS)[asked.campaign]
    # On a stack in a new folder, which is kept when it fails.
    database = asked.db or campaign.database

    def run(instance: Instance) -> int:
        return campaign.kind(
            campaign,
            instance,
            asked.seed,
            is_quick=asked.quick,
            is_planted=asked.planted,
            seconds=asked.seconds,
            broker=asked.broker,
        ).run()

    return own_stack.measure(campaign.name, "campaign", run, database=database, keeps_failed=True)


class Ended(NamedTuple):
    """A campaign's exit code, its row, and what was wrong."""

    code: int
    row: str
    wrong: Lines


def run_all(asked: argparse.Namespace) -> int:
    """The output of each campaign that can run here, then all rows and findings; the highest exit code."""
    words = [f"--quick={asked.quick:d}", f"--planted={asked.planted:d}", f"--seed={asked.seed}"]
    folder = places.private_folder(places.state())
    running: list[Popen[bytes]] = []
    chosen = with_touched(own_stack.chosen([*CAMPAIGNS.values()], asked.part), asked.since)

    def run_apart(name: str) -> Ended:
        log = folder / f"campaign-{name}-{os.getpid()}.log"
        command = [sys.executable, "-m", "lab.chaos", "--campaign", name, *words]
        child = children.start(command, log=log, when_parent_dies=signal.SIGTERM)
        running.append(child)
        code = child.wait()
        text = log.read_text().rstrip()
        log.unlink()
        say(text)
        if code:
            say(f"{name}: FAILED with exit code {code}")
        row = f"| {name} | no result: exit code {code} |"
        lines = text.splitlines()
        findings = []
        for line in lines:
            if line.startswith(f"| {name} |"):
                row = line
            if line.startswith("FINDING"):
                findings.append(f"{name}: {line}")
        wrong = findings or lines[-LAST_LINES:]
        return Ended(abs(code), row, wrong if code else [])

    threads = ThreadPoolExecutor(2 if asked.quick else 1)
    try:
        results = [*threads.map(run_apart, [one.name for one in chosen if can_run(one)])]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for child in running:
            children.stop(child, within_seconds=STOP_SECONDS)
    say(f"all campaigns:\n{HEADER}")
    for result in results:
        say(result.row)
    for result in results:
        for line in result.wrong:
            say(line)
    return max((result.code for result in results), default=0)


def can_run(campaign: Campaign) -> bool:
    """Whether what it needs is here; says what isn't."""
    missing = system_packages.missing("mariadb", *{*campaign.needs} - {"root"})
    if "root" in campaign.needs and os.getuid() != 0:
        missing.append("root")
    if missing:
        say(f"{campaign.name}: NOT RUN: it needs {', '.join(missing)}")
    return not missing


def with_touched(chosen: list[Campaign], since: str) -> list[Campaign]:
    """These, and before them others that the commits since then touch; what is left of those is noted."""
    touched = []
    for one in CAMPAIGNS.values():
        if since and one not in chosen and changes.is_touched(one.touched_by, since):
            touched.append(one)
    changes.note_not_run("campaign", [one.name for one in touched[MOST_TOUCHED:]])
    return touched[:MOST_TOUCHED] + chosen


if __name__ == "__main__":
    sys.exit(main())
