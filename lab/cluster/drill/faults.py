"""The faults of a drill: what is hit, when, for how long; what has to hold then; and how each is made: kills,
freezes and partitions of one process, and what an operator does to several."""

import itertools
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab import stage
from lab.calls import NO_ANSWER, Findings
from lab.cluster import keepers, layout, processes, status
from lab.cluster.layout import Cluster, names
from scripts.stack import SetupError, children, supervision, system_packages, waiting

ACTIONS = ("kill", "freeze", "partition")
# What a fault happens to. Of several equal processes the seed draws one; of RabbitMQ it is the leader of the
# queue, of beat the one that acts.
COMPONENTS = (
    "mysql-primary",
    "mysql-secondary",
    "router",
    "mysql-keeper",
    "redis-primary",
    "sentinel",
    "rabbitmq",
    "rabbitmq-keeper",
    "haproxy-database",
    "haproxy-front",
    "web",
    "worker",
    "issuer",
    "beat",
)
# What an operator does, or what happens to several processes at once; each is a case of `_operate`.
MANEUVERS = ("switchover", "members-restarted", "shop-upgraded", "members-killed", "member-cloned")
# What `QUICK=1` has time for; of the database its primary, and what leads to it.
QUICK = (
    "kill mysql-primary",
    "freeze mysql-primary",
    "partition mysql-primary",
    "kill redis-primary",
    "freeze rabbitmq",
    "kill router",
    "kill haproxy-front",
    "kill web",
    "kill issuer",
    "kill beat",
    "switchover",
    "members-killed",
)
NAMES = [f"{action} {component}" for component in COMPONENTS for action in ACTIONS]
NAMES += MANEUVERS
# How long the load runs before a fault, and how long a freeze or partition lasts: until it was noticed.
LEAD_SECONDS = (2.0, 4.0)
LASTS_SECONDS = (10.0, 14.0)
REFUSED = "no connection"
# What a silence takes to be noticed on top of an end, by the time-outs of the database's members.
NOTICE_SECONDS = 5.0
# The one process of several that such a fault is about.
ACTING: Mapping[str, Callable[[Cluster], str]] = {
    "mysql-primary": keepers.primary,
    "redis-primary": status.redis_primary,
    "rabbitmq": lambda cluster: (keepers.tasks_queue(cluster).get("leader") or "").partition("@")[0],
    "beat": lambda cluster: status.beat_lease(cluster)[0],
}
TABLE = "inet firstcome_drill"
# What a new primary may take to write; a process that a fault is about, to be there; a restarted one, to
# serve: a member may have much to catch up with.
SWITCH_SECONDS = 60
SILENT_SECONDS = 30
READY_SECONDS = 240


@dataclass(frozen=True)
class Fault:
    """What happens, to what, after how much load, and for how long. `choice` picks one of equal processes."""

    action: str
    component: str
    lead_seconds: float
    seconds: float
    choice: float

    @property
    def name(self) -> str:
        return f"{self.action} {self.component}".strip()

    @property
    def most_outage_seconds(self) -> float:
        """How long no write may be acknowledged."""
        if self.action in ("switchover", "shop-upgraded"):
            return 3.0
        # Of each HAProxy there is one here, so nothing takes its place.
        if self.seconds and self.component.startswith("haproxy"):
            return self.seconds + 3.0
        return 10.0 + (NOTICE_SECONDS if self.seconds else 0.0)

    def failures(self, statuses: Mapping[str, int], *, outage_seconds: float, acknowledged: int) -> Findings:
        """What of that did not hold, and answers that no client of a cluster may get; `acknowledged` are the
        effects that were compared."""
        most = self.most_outage_seconds
        if outage_seconds > most:
            yield f"writes were acknowledged again after {outage_seconds:.1f} s, not within {most:.1f} s"
        for word, count in statuses.items():
            # Done, refused with a reason, or asked to come again; and behind the one proxy of this cluster.
            # The load asks for nothing wrong, which would be 400.
            is_allowed = word in (NO_ANSWER, "503") or (word[0] in "24" and word != "400")
            if not is_allowed and (word, self.component) != (REFUSED, "haproxy-front"):
                yield f"{count} x {word}"
        if acknowledged == 0:
            yield "no write was acknowledged, so none was checked"


def chosen(text: str) -> list[str]:
    """The faults that `ONLY=` names: a fault, all of an action or of a component. Raises SetupError."""
    words = {*filter(None, map(str.strip, text.split(",")))}
    unknown = words - {*NAMES, *ACTIONS, *COMPONENTS}
    if unknown:
        raise SetupError(f"ONLY={','.join(unknown)} names no fault, action or component: {', '.join(NAMES)}")
    result = []
    for name in NAMES:
        if words & {name, *name.split(" ")}:
            result.append(name)
    return result


def drawn(seed: str, names: Sequence[str], *, is_repeated: bool) -> Iterator[Fault]:
    """These faults in the seed's order, once or without end."""
    for number in itertools.count(1) if is_repeated else (1,):
        for name in random.Random(f"{seed} order {number}").sample(names, len(names)):
            yield draw(name, seed=f"{seed} {number}")


def draw(name: str, *, seed: str) -> Fault:
    """The fault of that name. Its moments depend on nothing but seed and name, so one alone repeats them."""
    chance = random.Random(f"{seed} {name}")
    action, _, component = name.partition(" ")
    lead = chance.uniform(*LEAD_SECONDS)
    lasts = chance.uniform(*LASTS_SECONDS)
    return Fault(
        action, component, lead, lasts if action in ("freeze", "partition") else 0.0, chance.random()
    )


@contextmanager
def control_groups() -> Iterator[Path]:
    """A folder for a control group of each process, by which rules name it; removed in the end."""
    [mounted, *_] = re.findall(r"^\S+ (\S+) cgroup2 ", Path("/proc/mounts").read_text(), re.MULTILINE)
    made = Path(mounted, f"firstcome-{os.getpid()}")
    made.mkdir()
    try:
        yield made
    finally:
        # The kernel may not have buried their processes yet.
        rmdir = lambda: subprocess.run(["rmdir", *made.glob("*/"), made], capture_output=True).returncode  # noqa: E731
        waiting.left(rmdir, within_seconds=SILENT_SECONDS, pause_seconds=0.5)


def make(cluster: Cluster, groups: Path, fault: Fault) -> str:
    """Make the fault; to what it happened, when it is over. Raises SetupError and MySQLdb's errors."""
    if not fault.component:
        return _operate(cluster, fault.action)
    none = f"{fault.name}: there is no {fault.component} now"
    name = waiting.until(lambda: _target(cluster, fault), none, within_seconds=SILENT_SECONDS)
    pids = children.group_of(cluster.run, name)
    if fault.action == "kill":  # supervisor starts it again.
        children.kill(pids)
    else:
        with stage.frozen(pids) if fault.action == "freeze" else cut_off(groups / name):
            time.sleep(fault.seconds)
    return name


def _target(cluster: Cluster, fault: Fault) -> str:
    """The process that the fault is about, if it runs."""
    name = ""
    alike = names(fault.component.removesuffix("-secondary"))
    with suppress(*status.ERRORS):
        if fault.component in ACTING:
            name = ACTING[fault.component](cluster)
        # Without a primary each member would count as a secondary.
        elif (primary := keepers.primary(cluster)) or "mysql-1" not in alike:
            found = []
            for one in alike:
                if one != primary:
                    found.append(one)
            name = found[int(fault.choice * len(found))]
    if children.group_of(cluster.run, name):
        return name
    return ""


@contextmanager
def cut_off(control_group: Path) -> Iterator[None]:
    """The processes of this group exchange no packet with any other inside the block.

    All processes share the loopback, so an address names none of them. A packet on loopback leaves by one
    socket and enters by another: both are looked at.
    """
    # nft names groups from here, wherever version 2 is mounted; the second level below that is a process'.
    drop = f'socket cgroupv2 level 2 "{control_group.relative_to("/sys/fs/cgroup")}" drop;'
    hooks = [f"chain {hook} {{ type filter hook {hook} priority 0; {drop} }}" for hook in ("output", "input")]
    nft = partial(subprocess.run, check=True, timeout=30)
    nft([system_packages.program("nft"), f"table {TABLE} {{ {'; '.join(hooks)}; }}"])
    yield
    nft([system_packages.program("nft"), f"delete table {TABLE}"])


def _operate(cluster: Cluster, maneuver: str) -> str:
    """What an operator does, or what happens to all members, from beginning to end; to what it happened."""
    members = names("mysql")
    shop = names("web", "worker", "issuer")
    late = "no member is the primary"
    ask = partial(keepers.ask, cluster, seconds=SWITCH_SECONDS)
    old = waiting.until(lambda: keepers.primary(cluster), late, within_seconds=SILENT_SECONDS)
    new = members[members.index(old) - 1]
    # It returns when the other one writes.
    switch = partial(ask, new, f"SELECT group_replication_set_as_primary('{layout.member_uuid(new)}')")
    match maneuver:
        case "switchover":
            switch()
            return f"{old} to {new}"
        case "members-restarted":
            # As for another version: the primary last, and after a switchover.
            for name in sorted({*members} - {old}):
                _restart(cluster, name)
            switch()
            _restart(cluster, old)
            return f"each, {old} last"
        case "members-killed":
            # They come back by themselves.
            children.kill(set().union(*(children.group_of(cluster.run, name) for name in members)))
            return ", ".join(members)
        case "member-cloned":
            for other in {*members} - {new}:
                # The others forget what a new member would begin with.
                ask(other, "FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
            _restart(cluster, new, partial(shutil.rmtree, cluster.folder(new) / "data"))
            if not ask(new, "SELECT 1 FROM performance_schema.clone_status WHERE STATE = 'Completed'"):
                raise SetupError(f"{new} joined again, and was not cloned")
            return new
        case _:
            # The previous release in the place of each process, one after the other, and then this one again.
            code = stage.code_of(stage.PREVIOUS, cluster.home.parent / "previous-release")
            links = {name: cluster.folder(name) / processes.CODE for name in shop}
            for name, link in links.items():
                link.symlink_to(code)
                _restart(cluster, name)
            for name, link in links.items():
                link.unlink()
                _restart(cluster, name)
            return "web, worker and issuer, to the previous release and back"


def _restart(cluster: Cluster, name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Stop and start the process; returns once it serves. Raises SetupError."""
    supervisor = supervision.calls(cluster)
    full_name = f"{layout.PROGRAMS[name].group}:{name}"
    supervisor.stopProcess(full_name)
    meanwhile()
    supervisor.startProcess(full_name, False)

    def is_ready() -> bool:
        if name in names("mysql"):
            return not any(one.startswith(name) for one in status.missing(cluster, "database"))
        is_up = supervision.states(cluster)[name] == "RUNNING"
        return is_up and not (name in names("web") and supervision.readiness_problem(cluster.port_of(name)))

    waiting.until(
        is_ready, f"{name} was not ready {READY_SECONDS} s after its restart", within_seconds=READY_SECONDS
    )
