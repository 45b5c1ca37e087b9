"""`make cluster-drill`: faults of a cluster of its own under load, and a table of what each cost."""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import MySQLdb

from lab.chaos import comparison
from lab.chaos.calls import NoFinalAnswer, Observations
from lab.cluster import layout, packages
from lab.cluster.drill import effects, load, partition, plan, report, shop_setup
from lab.cluster.drill.judging import Outcome
from lab.cluster.drill.plan import Fault
from lab.cluster.drill.trial import Trial
from lab.cluster.group_replication.members import GroupMembers
from lab.cluster.layout import Cluster
from scripts.stack import SetupError, children, debian, places, waiting

QUICK_MINUTES, MOST_MINUTES = 5.5, 120.0
SETTLE_SECONDS = 150


def main() -> int:
    """Run the drill; its exit code. Raises SetupError."""
    parser = argparse.ArgumentParser(prog="make cluster-drill", description="Break a cluster under load.")
    parser.add_argument("--seed", default="", help="to have the same faults at the same moments again")
    parser.add_argument(
        "--minutes",
        default="",
        help="repeat the faults; none begins after so many minutes; without it each happens once",
    )
    parser.add_argument("--only", default="", help="faults, actions or components, with commas between them")
    parser.add_argument(
        "--quick", action="store_true", help=f"up to twelve faults; none begins after {QUICK_MINUTES} minutes"
    )
    asked = parser.parse_args()
    packages.require_root("make cluster-drill")
    partition.require()
    names = plan.chosen(asked.only) or (plan.QUICK if asked.quick else plan.NAMES)
    seed = asked.seed or str(random.SystemRandom().randrange(10**6))
    minutes = _minutes(asked.minutes)
    faults = plan.faults(seed, names, is_repeated=minutes is not None)
    if minutes is None:
        minutes = QUICK_MINUTES if asked.quick else MOST_MINUTES
    return _drill(seed, faults, minutes)


def _minutes(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise SetupError(f"MINUTES={text} is not a number") from None


def _drill(seed: str, faults: Iterator[Fault], minutes: float) -> int:
    home = Path(tempfile.mkdtemp(prefix="cluster-drill-", dir=places.private_folder(places.state())))
    cluster = Cluster(home=layout.home(home), first_port=layout.DEFAULT_PORT)
    # Before this process has a network of its own, in which no mirror can be reached.
    debian.MYSQL.require()
    partition.enter_namespace()
    _say(f"cluster-drill: SEED={seed}; to look into it: nsenter --net --target {os.getpid()} (VAR={home})")
    failures = ["it was cut short"]
    try:
        failures = _in_cluster(cluster, seed, faults, minutes)
    except KeyboardInterrupt:
        failures = []
        raise
    finally:
        if failures and any(home.iterdir()):
            _say(f"cluster-drill: state and logs are kept in {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    _say(f"cluster-drill: {f'{len(failures)} failures' if failures else 'passed'}, SEED={seed}")
    return 1 if failures else 0


def _in_cluster(cluster: Cluster, seed: str, faults: Iterator[Fault], minutes: float) -> list[str]:
    """Start the cluster, run the faults, print the table; what did not hold."""
    outcomes: list[Outcome] = []
    findings: list[str] = []
    with partition.control_groups() as groups, shop_setup.running_cluster(cluster, groups):
        seen = Observations()
        setup, shop = shop_setup.prepare(cluster, seen)
        before = effects.stored(setup, partial(GroupMembers.of(cluster).servers.ask, 1))
        trial = Trial(cluster, groups, setup, shop, before, _say)
        ends_at = time.monotonic() + minutes * 60
        try:
            for fault in faults:
                if time.monotonic() > ends_at:
                    _say(f"{fault.name} is left out: {minutes:.0f} minutes are over")
                    break
                try:
                    outcomes.append(trial.run(fault, seed=seed))
                except NoFinalAnswer:
                    raise
                except (SetupError, MySQLdb.Error) as error:
                    findings.append(f"{fault.name} could not be judged: {error}")
                    _say(f"  FAILED {findings[-1]}")
                    continue
                _say(report.row(outcomes[-1]))
                for failure in outcomes[-1].failures():
                    _say(f"  FAILED {failure}")
            findings += _whole_comparison(trial, seed)
        except NoFinalAnswer as error:
            findings.append(f"no final answer: {error}")
        finally:
            _say(f"\n{report.table(outcomes)}\n\n{report.machine()}\n")
    failures = [*report.failures(outcomes), *findings]
    for failure in failures:
        _say(f"FAILED {failure}")
    return failures


def _whole_comparison(trial: Trial, seed: str) -> list[str]:
    """Once all is settled: every answer of the whole run, and the outside systems' books."""
    trial.shop.connection = load.connection(trial.cluster, Observations(), seed)
    if left := waiting.left(
        lambda: trial.shop.unsettled(trial.setup), within_seconds=SETTLE_SECONDS, pause_seconds=1
    ):
        return [f"not settled {SETTLE_SECONDS} s after the last fault: {'; '.join(left[:10])}"]
    found = list(comparison.findings(trial.setup, trial.shop))
    _say(f"{trial.shop.sums(trial.setup)}; {len(found)} answers are not as they were")
    return found


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(children.run_command("cluster-drill", main))
