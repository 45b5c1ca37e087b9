"""`make cluster-drill`: faults of a cluster of its own under load, and a table of what each cost."""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from lab import calls, report, stage
from lab.calls import Connection, NoFinalAnswer, Observations
from lab.chaos import clients, comparison
from lab.cluster import group, layout, processes, status
from lab.cluster.drill import faults, load
from lab.cluster.drill.faults import Fault
from lab.cluster.drill.load import Seen
from lab.cluster.layout import Cluster, names
from lab.shop import Shop
from scripts.stack import SetupError, children, own_stack, system_packages, waiting
from scripts.stack.instance import Instance

QUICK_MINUTES, MOST_MINUTES = 5.5, 120.0
READY_SECONDS, STOP_SECONDS, COMMAND_SECONDS = 900, 150, 180
PRODUCTS, STOCK, PLENTY = 6, 20_000, 1_000_000
COUPONS, FEW_COUPONS = 10_000, 30
"""Of most campaigns, and of those that sell out."""
LOADED_SECONDS, LONGEST_SECONDS = 15.0, 600
"""How long the load goes on at most after a fault, and with it."""
WHOLE_SECONDS, CATCH_UP_SECONDS = 240, 180
"""How long a part may be missing after the load, and a member may be behind the primary."""
FINAL_SECONDS, SAME_SECONDS, SETTLE_SECONDS = 90, 30, 150
SETTINGS = {
    # Short, so that what is left undone ends before it is judged.
    "ORDER_HOLD_SECONDS": "20",
    "RECONCILE_SECONDS": "30",
    "OPEN_ORDERS_PER_ACCOUNT": "100000",
    "OPEN_UNITS_PER_ACCOUNT": "1000000",
    "GRANT_DAY_AMOUNT": "1000000000",
    "PARTNER_FAILURE_RATE": "0",
    **own_stack.NO_RATES,
}
HEADER = (
    *("fault", "acknowledged writes again after", "whole again after", "statuses"),
    *("lost", "doubled", "load average"),
)
IN_NETWORK = "FIRSTCOME_DRILL_NETWORK"


def main() -> int:
    """Run the drill; its exit code. Raises SetupError."""
    parser = argparse.ArgumentParser(prog="make cluster-drill", description=__doc__)
    parser.add_argument("--seed", default="", help="the same faults at the same moments again")
    parser.add_argument("--minutes", default="", help="repeat the faults; none begins after so many minutes")
    parser.add_argument("--only", default="", help="faults, actions or components, with commas between them")
    parser.add_argument("--quick", action="store_true", help="up to twelve faults")
    asked = parser.parse_args()
    seed = asked.seed or str(random.SystemRandom().randrange(10**6))
    chosen = faults.chosen(asked.only) or (faults.QUICK if asked.quick else faults.NAMES)
    minutes = float(asked.minutes or (QUICK_MINUTES if asked.quick else MOST_MINUTES))
    if os.getuid() != 0:
        raise SetupError("NOT RUN: it needs root, as which MySQL runs")
    system_packages.MYSQL.require()
    if IN_NETWORK not in os.environ:
        # This process, and all that it starts, has a network of its own with loopback alone.
        line = ["unshare", "--net", sys.executable, "-m", "lab.cluster.drill", *sys.argv[1:]]
        os.execvpe(line[0], line, os.environ | {IN_NETWORK: "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    drawn = faults.drawn(seed, chosen, is_repeated=bool(asked.minutes))

    def drill(instance: Instance) -> int:
        home, cluster = instance.home, Cluster(home=instance.home / "cluster", port=layout.DEFAULT_PORT)
        children.say(f"SEED={seed}; to look into it: nsenter --net --target {os.getpid()} (VAR={home})")
        with faults.control_groups() as groups:
            own = {"FIRSTCOME_VAR": str(home), processes.CONTROL_GROUPS: str(groups)}
            with children.running(
                [sys.executable, "-m", "lab.cluster", "--port", str(cluster.port)],
                name="make cluster",
                log=(log := home / "cluster.log"),
                is_ready=lambda: "Ctrl-C stops everything." in log.read_text(),
                environment=os.environ | SETTINGS | own,
                within_seconds=READY_SECONDS,
                stop_seconds=STOP_SECONDS,
            ):
                failures = _run(Trial(cluster, groups, seed), drawn, minutes)
        failures += [f"process {one} is left" for one in children.of_state(cluster.home)]
        children.say("".join(f"FAILED {one}\n" for one in failures))
        children.say(f"{len(failures)} failures, SEED={seed}")
        return int(bool(failures))

    return own_stack.measure("cluster-drill", "cluster-drill", drill, keeps_failed=True)


def _manage(cluster: Instance, words: str) -> subprocess.CompletedProcess[str]:
    """A management command beside the cluster, to its end. Raises SetupError when that takes too long."""
    line = ["sh", "-c", f'. "$0/env" && exec "$1" manage.py {words}', str(cluster.home), sys.executable]
    return children.run(line, within_seconds=COMMAND_SECONDS)


def _run(trial: "Trial", drawn: Iterator[Fault], minutes: float) -> list[str]:
    """Make the faults, and print a table of them; what did not hold."""
    rows, failures, ends_at = list[list[str]](), list[str](), time.monotonic() + minutes * 60
    for fault in drawn:
        if time.monotonic() > ends_at:
            children.say(f"{fault.name} is left out: {minutes:.0f} minutes are over")
            break
        try:
            row, found = trial.run(fault)
        except Exception as error:
            row, found = [fault.name, "not judged", *[""] * 5], [f"could not be judged: {error!r}"]
        rows.append(row)
        children.say("\n".join([" | ".join(row), *(f"  FAILED {failure}" for failure in found)]))
        failures += [f"{fault.name}: {failure}" for failure in found]
    if not (rows and trial.setup.calls):
        failures.append(f"{len(rows)} faults and {len(trial.setup.calls)} calls were made")
    try:
        failures += trial.compare_whole()
    except Exception as error:
        failures.append(f"the whole could not be compared: {error!r}")
    machine = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load average {os.getloadavg()[1]:.0f}"
    children.say(f"\n{report.markdown(HEADER, rows)}\n{machine}\n")
    return failures


class Trial:
    """The cluster that all faults of a drill happen to, and what its clients remember."""

    def __init__(self, cluster: Cluster, groups: Path, seed: str) -> None:
        """Make accounts with points, and products. Raises SetupError."""
        self.cluster, self.groups, self.seed = cluster, groups, seed
        known = stage.seed(cluster, load.BUYERS * load.ACCOUNTS_EACH + load.WRITERS, manage=_manage)
        self.shop = Shop(cluster, known["staff"], Observations())
        self.setup = self.shop.stocked(known, "Drill", products=PRODUCTS, on_hand=STOCK, plenty=PLENTY)
        self.ask = partial(group.ask, cluster, seconds=CATCH_UP_SECONDS + 20)
        self.before = comparison.stored(self.setup, partial(self.ask, "mysql-1"))
        self.known = set[str]()
        """What was lost or doubled by earlier faults."""

    def run(self, fault: Fault) -> tuple[list[str], list[str]]:
        """Run the load and the fault; its row of the table, and what did not hold. Raises what keeps it from
        being judged."""
        seen, port, target = Seen(), self.cluster.port, ""
        self.shop.connection = Connection(port, seen, seed=self.seed)
        new_campaign = partial(self.shop.create_campaign, fault.name)
        self.setup.campaigns = [
            new_campaign(strategy="code_pool", code_source="pool", quantity=FEW_COUPONS),
            new_campaign(quantity=FEW_COUPONS),
            new_campaign(strategy="queue", quantity=COUPONS),
            new_campaign(strategy="redis_gate", quantity=FEW_COUPONS),
        ]
        earlier = comparison.acknowledged(self.setup)
        campaigns = [new_campaign(quantity=COUPONS) for _ in range(load.CAMPAIGNS)]
        # A repeated fault has other moments, and so other keys: the first ones are answered already.
        common: dict[str, Any] = {"seed": f"{self.seed} {fault}", "port": port, "seen": seen}
        working = load.clients(self.setup, campaigns, ends_at=time.monotonic() + LONGEST_SECONDS, **common)
        try:
            with clients.at_work(working) as stop:
                time.sleep(fault.lead_seconds)
                began = time.monotonic()
                try:
                    target = faults.make(self.cluster, self.groups, fault)
                except Exception as error:
                    seen.record_finding(f"could not be made: {error!r}")
                busy, whole = os.getloadavg()[0], self._seconds_until_whole(began, stop)
        except NoFinalAnswer as error:
            seen.record_finding(f"no final answer: {error}")
        if whole is None:
            seen.record_finding(f"still missing: {'; '.join(status.missing(self.cluster)[:5])}")
        outage = working[0].outage_seconds(since=began)
        findings = [*self._judge(Connection(port, seen, seed="settle"))]
        known = comparison.acknowledged(self.setup)
        stored = {name: comparison.stored(self.setup, partial(self.ask, name)) for name in names("mysql")}
        lost, doubled = (
            [one for one in found if one not in self.known]
            for found in comparison.compare(known, stored, before=self.before)
        )
        self.known |= {*lost, *doubled}
        acknowledged = sum(len(known[kind] - earlier[kind]) for kind in known)
        row = [
            f"{fault.name} ({target}{f', {fault.seconds:.0f} s' if fault.seconds else ''})",
            f"{outage:.1f} s",
            "not seen" if whole is None else f"{whole:.1f} s",
            ", ".join(f"{count} x {word}" for word, count in sorted(seen.words.items())),
            f"{len(lost)} of {acknowledged}",
            str(len(doubled)),
            f"{busy:.0f}",
        ]
        found = [*fault.failures(seen.words, outage_seconds=outage, acknowledged=acknowledged), *findings]
        found += [*(f"lost: {one}" for one in lost), *(f"doubled: {one}" for one in doubled), *seen.findings]
        return row, found

    def _judge(self, connection: Connection) -> Iterator[str]:
        """Wait until every call has its final answer and all members are as far; what does not hold then."""
        until = time.monotonic() + FINAL_SECONDS
        for made in [made for account in (self.setup.staff, *self.setup.buyers) for made in account.calls]:
            yield from calls.await_final_answer(made, connection, within_seconds=until - time.monotonic())
        ask = self.ask
        [(executed,)] = ask(group.primary(self.cluster), "SELECT @@GLOBAL.gtid_executed")
        caught_up = f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', {CATCH_UP_SECONDS})"
        yield from (
            f"{one} is behind the primary" for one in names("mysql") if ask(one, caught_up) != ((0,),)
        )
        sums = f"CHECKSUM TABLE {comparison.TRUTH}"
        unequal = lambda: comparison.unequal({name: dict(ask(name, sums)) for name in names("mysql")})  # noqa: E731
        yield from waiting.left(unequal, within_seconds=SAME_SECONDS, pause_seconds=0.5)
        audited = _manage(self.cluster, "audit --json")
        yield from own_stack.broken(json.loads(children.printed(audited, codes=(0, 1)))["laws"])

    def _seconds_until_whole(self, began: float, stop: Event) -> float | None:
        """How long after the beginning nothing is missing; None when something still is in the end.

        Some parts are missed only seconds later, so nothing may be missing for as long as that. The load ends
        meanwhile: a member that joins again under load would take minutes.
        """
        made_at = time.monotonic()
        whole_at: float | None = None
        while whole_at is None or time.monotonic() - whole_at < faults.NOTICE_SECONDS:
            is_whole, now = not status.missing(self.cluster), time.monotonic()
            if now > made_at + LOADED_SECONDS:
                stop.set()
            if not is_whole and now > made_at + LOADED_SECONDS + WHOLE_SECONDS:
                return None
            whole_at = (whole_at or now) if is_whole else None
            time.sleep(0.5)
        return whole_at - began

    def compare_whole(self) -> list[str]:
        """Once all is settled: every answer of the whole run, and the outside systems' books."""
        setup, shop = self.setup, self.shop
        shop.connection = Connection(self.cluster.port, Observations(), seed=self.seed)
        unsettled = lambda: [*shop.unsettled(setup)]  # noqa: E731
        if left := waiting.left(unsettled, within_seconds=SETTLE_SECONDS, pause_seconds=1):
            return [f"not settled {SETTLE_SECONDS} s after the last fault: {'; '.join(left[:10])}"]
        found = list(comparison.findings(setup, shop))
        children.say(f"{shop.sums(setup)}; {len(found)} answers are not as they were")
        return found


if __name__ == "__main__":
    sys.exit(children.run_command("cluster-drill", main))
