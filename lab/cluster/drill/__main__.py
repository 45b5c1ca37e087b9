"""`make cluster-drill`: faults of a cluster of its own under load, and a table of what each cost."""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event

from lab import report, stage
from lab.calls import Connection, Findings, Observations
from lab.chaos import clients, comparison
from lab.chaos.clients import Work
from lab.cluster import keepers, layout, processes, status
from lab.cluster.drill import faults, load
from lab.cluster.drill.faults import Fault
from lab.cluster.drill.load import Seen
from lab.cluster.layout import Cluster, names
from lab.shop import Shop
from scripts import options
from scripts.stack import Json, Lines, SetupError, children, own_stack, system_packages, waiting
from scripts.stack.children import say
from scripts.stack.instance import Instance

QUICK_MINUTES = 5.5
MOST_MINUTES = 120.0
READY_SECONDS = 900
STOP_SECONDS = 150
COMMAND_SECONDS = 180
LOADED_SECONDS = 15.0
LONGEST_SECONDS = 600  # How long the load goes on at most after a fault, and with it
# How long a part may be missing after the load, a member may be behind the primary, and payments be open.
WHOLE_SECONDS = 240
CATCH_UP_SECONDS = 180
SETTLE_SECONDS = 150
SETTINGS = {
    **own_stack.NO_RATES,
    # Short times, so that what is left undone ends before it is judged.
    "ORDER_HOLD_SECONDS": "20",
    "RECONCILE_SECONDS": "30",
    "OPEN_ORDERS_PER_ACCOUNT": "100000",
    "OPEN_UNITS_PER_ACCOUNT": "1000000",
    "GRANT_DAY_AMOUNT": "1000000000",
    "PARTNER_FAILURE_RATE": "0",
}
# Of the table that a drill prints.
COLUMNS = (
    "fault",
    "acknowledged writes again after",
    "whole again after",
    "statuses",
    "lost",
    "doubled",
    "load average",
)
# Whose coupons are asked for beside each fault. Most of them sell out.
CAMPAIGNS: tuple[Json, ...] = (
    {"strategy": "code_pool", "code_source": "pool", "quantity": 30},
    {"quantity": 30},
    {"strategy": "queue", "quantity": 10000},
    {"strategy": "redis_gate", "quantity": 30},
)
CLONE_NEWNET = 0x40000000


def main() -> int:
    """Run the drill; its exit code. Raises SetupError."""
    asked = options.read(
        "make cluster-drill",
        flags=["quick"],
        seed="the same faults at the same moments again",
        minutes="repeat the faults; none begins after so many minutes",
        only="faults, actions or components, with commas between them",
        quick="1: up to twelve faults",
    )
    seed = options.seed(asked)
    chosen = faults.chosen(asked.only) or (faults.QUICK if asked.quick else faults.NAMES)
    minutes = float(asked.minutes or (QUICK_MINUTES if asked.quick else MOST_MINUTES))
    if os.getuid() != 0:
        raise SetupError("NOT RUN: it needs root, as which MySQL runs")
    system_packages.MYSQL.require()
    # This process, and all that it starts, has a network of its own with loopback alone.
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    drawn = faults.drawn(seed, chosen, is_repeated=bool(asked.minutes))

    def drill(instance: Instance) -> int:
        home = instance.home
        log = home / "cluster.log"
        cluster = Cluster(home=home / "cluster", port=layout.DEFAULT_PORT)
        say(f"SEED={seed}; to look into it: nsenter --net --target {os.getpid()} (VAR={home})")
        with faults.control_groups() as groups:
            own = {"FIRSTCOME_VAR": str(home), processes.CONTROL_GROUPS: str(groups)}
            with children.running(
                [sys.executable, "-m", "lab.cluster", "--port", str(cluster.port)],
                name="make cluster",
                log=log,
                is_ready=lambda: "Ctrl-C stops everything." in log.read_text(),
                environment=os.environ | SETTINGS | own,
                within_seconds=READY_SECONDS,
                stop_seconds=STOP_SECONDS,
            ):
                failures = _run(Trial(cluster, groups, seed), drawn, minutes)
        for one in children.of_state(cluster.home):
            failures.append(f"process {one} is left")
        say("\n".join([*(f"FAILED {one}" for one in failures), f"{len(failures)} failures, SEED={seed}"]))
        return int(bool(failures))

    return own_stack.measure("cluster-drill", "cluster-drill", drill, keeps_failed=True)


def _manage(cluster: Instance, words: str) -> children.Ran:
    """A management command beside the cluster, to its end. Raises SetupError when that takes too long."""
    line = ["sh", "-c", f'. "$0/env" && exec "$1" manage.py {words}', str(cluster.home), sys.executable]
    return children.run(line, within_seconds=COMMAND_SECONDS)


def _run(trial: "Trial", drawn: Iterator[Fault], minutes: float) -> Lines:
    """Make the faults, and print a table of them; what did not hold."""
    rows = list[Lines]()
    failures = Lines()
    ends_at = time.monotonic() + minutes * 60
    for fault in drawn:
        if time.monotonic() > ends_at:
            say(f"{fault.name} is left out: {minutes:.0f} minutes are over")
            break
        row, found = trial.run(fault)
        rows.append(row)
        say("\n".join([" | ".join(row), *(f"  FAILED {failure}" for failure in found)]))
        for failure in found:
            failures.append(f"{fault.name}: {failure}")
    failures += [*trial.compare_whole(), *["no fault was made"] * (not rows)]
    machine = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load average {os.getloadavg()[1]:.0f}"
    say(f"\n{report.markdown(COLUMNS, rows)}\n{machine}\n")
    return failures


class Trial:
    """The cluster that all faults of a drill happen to, and what its clients remember."""

    def __init__(self, cluster: Cluster, groups: Path, seed: str) -> None:
        """Make accounts with points, and products. Raises SetupError."""
        self.cluster = cluster
        self.groups = groups
        self.seed = seed
        self.ask = partial(keepers.ask, cluster, seconds=CATCH_UP_SECONDS)
        known = stage.seed(cluster, load.BUYERS * load.ACCOUNTS_EACH + load.WRITERS, manage=_manage)
        self.shop = Shop(cluster, known["staff"], Observations())
        self.setup = self.shop.stocked(known, "Drill", **load.STOCKED)
        self.before = self.stored("mysql-1")
        self.known = set[str]()  # Rows from before the load; and what was lost or doubled by earlier faults

    def stored(self, name: str) -> comparison.Effects:
        return comparison.stored(self.setup, partial(self.ask, name))

    def watch(self, seen: Observations) -> None:
        """Have these record what the shop's own calls see from now on."""
        self.shop.seen = seen
        self.shop.connection = Connection(self.cluster.port, seen, seed=self.seed)

    def run(self, fault: Fault) -> tuple[Lines, Lines]:
        """Run the load and the fault; its row of the table, and what did not hold. Raises SetupError and
        others where it can't be made or judged."""
        seen = Seen()
        self.watch(seen)
        new_campaign = partial(self.shop.create_campaign, fault.name)
        self.setup.campaigns = [new_campaign(**terms) for terms in CAMPAIGNS]
        earlier = comparison.acknowledged(self.setup)
        campaigns = [new_campaign(quantity=load.COUPONS) for _ in range(load.CAMPAIGNS)]
        # A repeated fault has other moments, and so other keys: the first ones are answered already.
        work = Work(self.setup, self.cluster.port, seen, time.monotonic() + LONGEST_SECONDS)
        working = load.clients(work, campaigns, f"{self.seed} {fault}")
        with clients.at_work(working) as stop:
            time.sleep(fault.lead_seconds)
            began = time.monotonic()
            target = faults.make(self.cluster, self.groups, fault)
            busy = os.getloadavg()[0]
            whole = self._when_whole(stop) - began
        outage = working[0].outage_seconds(since=began)
        findings = [*self._judge()]
        known = comparison.acknowledged(self.setup)
        compared = comparison.compare(
            known, {one: self.stored(one) for one in names("mysql")}, before=self.before
        )
        lost, doubled = ([one for one in found if one not in self.known] for found in compared)
        self.known |= {*lost, *doubled}
        acknowledged = sum(len(known[kind] - earlier[kind]) for kind in known)
        duration = f", {fault.seconds:.0f} s" if fault.seconds else ""
        answers = [f"{count} x {word}" for word, count in sorted(seen.words.items())]
        row = [
            f"{fault.name} ({target}{duration})",
            f"{outage:.1f} s",
            f"{whole:.1f} s",
            ", ".join(answers),
            f"{len(lost)} of {acknowledged}",
            str(len(doubled)),
            f"{busy:.0f}",
        ]
        found = [*fault.failures(seen.words, outage_seconds=outage, acknowledged=acknowledged), *findings]
        found += [*(f"lost: {one}" for one in lost), *(f"doubled: {one}" for one in doubled), *seen.findings]
        return row, found

    def _judge(self) -> Findings:
        """Once every call has its final answer and all members have the same: what does not hold."""
        self.shop.await_final_answers(self.setup)
        sums = f"CHECKSUM TABLE {comparison.TRUTH}"
        unequal = lambda: comparison.unequal({one: dict(self.ask(one, sums)) for one in names("mysql")})  # noqa: E731
        yield from waiting.left(unequal, within_seconds=CATCH_UP_SECONDS, pause_seconds=0.5)
        audited = _manage(self.cluster, "audit --json")
        yield from own_stack.broken(json.loads(children.printed(audited, codes=(0, 1)))["laws"])

    def _when_whole(self, stop: Event) -> float:
        """The moment from which on nothing was missing. Raises SetupError when something still is.

        Some parts are missed only seconds later, so nothing may be missing for as long as that. The load ends
        meanwhile: a member that joins again under load would take minutes.
        """
        made_at = whole_since = time.monotonic()
        while (now := time.monotonic()) < whole_since + faults.NOTICE_SECONDS:
            if now > made_at + LOADED_SECONDS:
                stop.set()
            missing = status.missing(self.cluster)
            if missing:
                whole_since = time.monotonic()
                if now > made_at + LOADED_SECONDS + WHOLE_SECONDS:
                    raise SetupError(f"still missing: {'; '.join(missing[:5])}")
            time.sleep(0.5)
        return whole_since

    def compare_whole(self) -> Lines:
        """Once all is settled: every answer of the whole run, and the outside systems' books."""
        seen = Observations()
        self.watch(seen)
        self.shop.settle(self.setup, within_seconds=SETTLE_SECONDS)
        return [*seen.findings, *comparison.findings(self.setup, self.shop)]


if __name__ == "__main__":
    children.end_with(main, "cluster-drill")
