"""How a fault is made: kills, freezes and partitions of one process, and what an operator does to several."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from xmlrpc.client import Fault as NotRunning

from lab.cluster import group, layout, processes, rabbitmq, status, templates
from lab.cluster.drill import previous_shop
from lab.cluster.drill.faults import Fault
from lab.cluster.layout import Cluster, names
from scripts.stack import SetupError, children, supervision, system_packages, waiting

ACTING: Mapping[str, Callable[[Cluster], str]] = {
    "mysql-primary": group.primary,
    "redis-primary": status.redis_primary,
    "rabbitmq": lambda cluster: (rabbitmq.tasks_queue(cluster).get("leader") or "").partition("@")[0],
    "beat": lambda cluster: status.beat_lease(cluster)[0],
}
"""The one process of several that such a fault is about."""
TABLE = "inet firstcome_drill"
SWITCH_SECONDS = 60
SILENT_SECONDS = 30
"""What a fault waits for the process that it is about."""
READY_SECONDS = 240
"""What a restarted process may take to serve; a member may have much to catch up with."""


@contextmanager
def control_groups() -> Iterator[Path]:
    """A folder for a control group of each process, by which rules name it; removed in the end."""
    [mounted, *_] = re.findall(r"^\S+ (\S+) cgroup2 ", Path("/proc/mounts").read_text(), re.MULTILINE)
    made = Path(mounted, f"firstcome-{os.getpid()}")
    made.mkdir()
    try:
        yield made
    finally:
        groups = [*made.glob("*/"), made]

        def left() -> list[Path]:
            for one in groups:
                with suppress(OSError):  # The kernel may not have buried its processes yet.
                    one.rmdir()
            return [one for one in groups if one.exists()]

        if kept := waiting.left(left, within_seconds=SILENT_SECONDS, pause_seconds=0.5):
            children.say(f"control groups are left behind: {kept}")


def make(cluster: Cluster, groups: Path, fault: Fault) -> str:
    """Make the fault; to what it happened, when it is over. Raises SetupError and MySQLdb's errors."""
    if not fault.component:
        return _operate(cluster, fault.action)

    def target() -> tuple[str, set[int]] | None:
        if fault.component in ACTING:
            name = ACTING[fault.component](cluster)
        else:
            alike, primary = names(fault.component.removesuffix("-secondary")), group.primary(cluster)
            found = [one for one in alike if one != primary]
            # Without a primary each member would count as a secondary.
            name = found[int(fault.choice * len(found))] if primary or "mysql" not in alike[0] else ""
        pids = children.group_of(cluster.run, name) if name else set()
        return (name, pids) if pids else None

    none = f"{fault.name}: there is no {fault.component} now"
    name, pids = waiting.until(target, none, within_seconds=SILENT_SECONDS)
    if fault.action == "kill":  # supervisor starts it again.
        children.kill(pids)
    else:
        with children.frozen(pids) if fault.action == "freeze" else cut_off(groups / name):
            time.sleep(fault.seconds)
    return name


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
    try:
        yield
    finally:
        nft([system_packages.program("nft"), f"delete table {TABLE}"])


def _operate(cluster: Cluster, maneuver: str) -> str:
    """What an operator does, or what happens to all members, from beginning to end; to what it happened."""
    old, members, shop = group.primary(cluster), names("mysql"), names("web", "worker", "issuer")
    new = members[members.index(old) - 1]

    def switch() -> None:
        """Have another member write; returns when it does."""
        statement = f"SELECT group_replication_set_as_primary('{templates.member_uuid(new)}')"
        group.ask(cluster, new, statement, seconds=SWITCH_SECONDS)

    match maneuver:
        case "switchover":
            switch()
            return f"{old} to {new}"
        case "members-restarted":
            # As for another version: the primary last, and after a switchover.
            for name in sorted(members, key=old.__eq__):
                if name == old:
                    switch()
                _restart(cluster, name)
            return f"each, {old} last"
        case "members-killed":
            # They come back by themselves.
            pids = [children.group_of(cluster.run, name) for name in members]
            children.kill(set().union(*pids))
            return ", ".join(members)
        case "member-cloned":
            for other in {*members} - {new}:
                # The others forget what a new member would begin with.
                purge = ("FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
                group.ask(cluster, other, *purge, seconds=SWITCH_SECONDS)
            _restart(cluster, new, partial(shutil.rmtree, cluster.folder(new) / "data"))
            cloned = "SELECT 1 FROM performance_schema.clone_status WHERE STATE = 'Completed'"
            if not group.ask(cluster, new, cloned):
                raise SetupError(f"{new} joined again, and was not cloned")
            return new
        case _:
            # The previous release in the place of each process, one after the other, and then this one again.
            code = previous_shop.exported(cluster.home.parent / "previous-release")
            links = [cluster.folder(name) / processes.CODE for name in shop]
            try:
                for name, link in zip(shop, links, strict=True):
                    link.symlink_to(code)
                    _restart(cluster, name)
            finally:  # Also when one did not start: the next fault happens to this release.
                for link in links:
                    link.unlink(missing_ok=True)
                for name in shop:
                    _restart(cluster, name)
            return "web, worker and issuer, to the previous release and back"


def _restart(cluster: Cluster, name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Stop and start the process; returns once it serves. Raises SetupError."""
    supervisor, full_name = supervision.calls(cluster), f"{layout.PROGRAMS[name][0]}:{name}"
    with suppress(NotRunning):
        supervisor.stopProcess(full_name)
    try:
        meanwhile()
    finally:
        supervisor.startProcess(full_name, False)

    def is_ready() -> bool:
        if name in names("mysql"):
            return not any(one.startswith(name) for one in status.missing(cluster, "database"))
        is_up = supervision.states(cluster)[name] == "RUNNING"
        return is_up and not (name in names("web") and supervision.readiness_problem(cluster.port_of(name)))

    late = f"{name} was not ready {READY_SECONDS} s after its restart"
    waiting.until(is_ready, late, within_seconds=READY_SECONDS)
