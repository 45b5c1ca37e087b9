"""One fault of the drill: the load, the fault, until nothing is missing any more, and the judgement."""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import MySQLdb

from lab.chaos.memory import Setup
from lab.chaos.shop import Shop
from lab.cluster import status
from lab.cluster.drill import effects, faults, load, maneuvers, previous_shop, shop_setup
from lab.cluster.drill.effects import Compared, Effects
from lab.cluster.drill.judging import Outcome, Statuses, longest_gap
from lab.cluster.drill.load import Load
from lab.cluster.drill.plan import NOTICE_SECONDS, Fault
from lab.cluster.group_replication.members import GroupMembers
from lab.cluster.layout import Cluster
from scripts.stack import SetupError, waiting

WHOLE_SECONDS = 240
"""Members of the database come back for so long at most."""
LOADED_SECONDS = 15.0
"""The load goes on for so long after a fault. A member that joins again under load would take minutes."""
LONGEST_SECONDS = 600
WRITE_SECONDS = 60
NOTABLE_SECONDS = 30
"""A part that is missing for longer is named."""
SETTLE_SECONDS = 90
UNMEASURED = {"Prometheus"}
"""Parts of the status that serve no request."""


@dataclass
class Trial:
    """The cluster that all faults of a drill happen to, and what its clients remember."""

    cluster: Cluster
    groups: Path
    setup: Setup
    shop: Shop
    before: Effects
    say: Callable[[str], None]
    known: frozenset[str] = frozenset()
    """What was lost or doubled by earlier faults."""
    times: Counter[str] = field(default_factory=Counter)
    """How often each fault was made. A repeated one needs other keys: the first ones are answered already."""

    def run(self, fault: Fault, *, seed: str) -> Outcome:
        """Run the load and the fault. Raises SetupError and MySQLdb's errors when the judgement could
        not be had."""
        seen = Statuses()
        self.shop.connection = load.connection(self.cluster, seen, seed)
        own, steady = shop_setup.new_campaigns(self.shop, fault.name)
        self.setup.campaigns = own
        self.times[fault.name] += 1
        before = effects.acknowledged(self.setup)
        findings: list[str] = []
        with load.running(
            self.setup,
            port=self.cluster.port("front"),
            seed=f"{seed} {fault.name} {self.times[fault.name]}",
            campaigns=steady,
            seen=seen,
            seconds=LONGEST_SECONDS,
        ) as running:
            time.sleep(fault.lead_seconds)
            began, target = time.monotonic(), ""
            try:
                began, target = self._make(fault)
            except (SetupError, MySQLdb.Error) as error:
                findings.append(f"could not be made: {error}")
            busy = os.getloadavg()[0]
            whole = self._seconds_until_whole(began, until=time.monotonic() + LOADED_SECONDS)
            findings += _without_write(running)
            ended = time.monotonic()
        if whole is None:
            whole = self._seconds_until_whole(began, until=ended + WHOLE_SECONDS)
        if whole is None:
            findings.append(f"still missing: {'; '.join(self.missing()[:5])}")
        compared, acknowledged, found = self._judge(seen, before)
        return Outcome(
            fault=fault,
            target=target,
            outage_seconds=max(
                longest_gap(moments, since=began, until=ended)
                for moments in running.steady.acknowledged_at.values()
            ),
            whole_seconds=whole,
            statuses=seen.words,
            load_average=busy,
            slowest_seconds=max(seen.slowest.values(), default=0.0),
            acknowledged=acknowledged,
            lost=compared.lost,
            doubled=compared.doubled,
            findings=[*findings, *running.findings, *found, *seen.findings],
        )

    def _judge(self, seen: Statuses, before: Effects) -> tuple[Compared, int, list[str]]:
        """What was lost or doubled since the last fault, how many effects were acknowledged, and findings."""
        members = GroupMembers.of(self.cluster)
        findings = load.settle(
            self.setup, port=self.cluster.port("front"), seen=seen, within_seconds=SETTLE_SECONDS
        )
        findings += effects.wait_for_members(members)
        findings += effects.differing(members)
        findings += shop_setup.broken_laws(self.cluster)
        known = effects.acknowledged(self.setup)
        compared = effects.compare(known, effects.stored_by_member(members, self.setup), before=self.before)
        new = frozenset([*compared.lost, *compared.doubled]) - self.known
        self.known |= new
        fresh = Compared(
            [one for one in compared.lost if one in new], [one for one in compared.doubled if one in new]
        )
        return fresh, sum(len(known[kind] - before[kind]) for kind in known), findings

    def _make(self, fault: Fault) -> tuple[float, str]:
        """Make the fault; when it began, and to what it happened. Raises SetupError and MySQLdb's errors."""
        if not fault.component:
            return self._maneuver(fault)
        name = faults.target(self.cluster, fault)
        began = time.monotonic()
        with faults.happening(self.cluster, fault, name, self.groups):
            time.sleep(fault.seconds)
        return began, name

    def _maneuver(self, fault: Fault) -> tuple[float, str]:
        if fault.action == "shop-upgraded":
            folder = previous_shop.exported(self.cluster.home.parent / "previous-release")
            began = time.monotonic()
            return began, maneuvers.upgrade_shop(self.cluster, folder)
        began = time.monotonic()
        return began, maneuvers.MANEUVERS[fault.action](self.cluster)

    def _seconds_until_whole(self, began: float, *, until: float) -> float | None:
        """How long after the beginning nothing is missing; None when something still is in the end.

        Some parts are missed only seconds later, so nothing may be missing for as long as that.
        """
        last: Sequence[str] = ()
        well_since: float | None = None
        while well_since is None or time.monotonic() - well_since < NOTICE_SECONDS:
            if missing := self.missing():
                last, well_since = missing, None
                if time.monotonic() > until:
                    return None
            elif well_since is None:
                well_since = time.monotonic()
            time.sleep(0.5)
        whole = well_since - began
        if whole > NOTABLE_SECONDS and last:
            self.say(f"  whole after {whole:.1f} s; what was missing last: {'; '.join(last)}")
        return whole

    def missing(self) -> Sequence[str]:
        """What `make cluster-status` would mark."""
        found = status.examine(self.cluster, without=UNMEASURED)
        return [f"{one.name} {one.text}" for rows in found.values() for one in rows if not one.is_well]


def _without_write(running: Load) -> list[str]:
    """Return once one more write of each kind is acknowledged, so that all outages are over; or findings."""
    moments = running.steady.acknowledged_at
    before = {kind: len(moments[kind]) for kind in moments}
    missing = waiting.left(
        lambda: [kind for kind in moments if len(moments[kind]) == before[kind]], within_seconds=WRITE_SECONDS
    )
    return [f"no {kind} was acknowledged for {WRITE_SECONDS} s after the fault" for kind in missing]
