"""What an operator does to the cluster, and what happens to several members at once."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from lab.cluster import layout, supervision
from lab.cluster.drill import previous_shop
from lab.cluster.group_replication.members import GroupMembers
from lab.cluster.layout import Cluster
from scripts.stack import SetupError, process_identity, waiting

ONLINE_SECONDS = 240


def switchover(cluster: Cluster) -> str:
    """Have a secondary become the primary. Raises SetupError, and MySQLdb's errors."""
    members = GroupMembers.of(cluster)
    old = _primary(members)
    new = _next(members, old)
    members.make_primary(new)
    return f"{members.servers.name(old)} to {members.servers.name(new)}"


def restart_members(cluster: Cluster) -> str:
    """Restart one member after the other as for another version, the primary last and after a switchover."""
    members = GroupMembers.of(cluster)
    order = sorted(members.servers.numbers, key=lambda number: number == _primary(members))
    for number in order:
        if _primary(members) == number:
            members.make_primary(order[0])
        supervision.stop(cluster, members.servers.name(number))
        supervision.start(cluster, members.servers.name(number))
        _wait_online(members, number)
    return f"mysql-{', '.join(map(str, order))}"


def kill_members(cluster: Cluster) -> str:
    """Kill all members at the same moment."""
    names = layout.names("mysql")
    pids = [process_identity.group_of(cluster.instance.run, name) for name in names]
    process_identity.kill(set().union(*pids))
    return f"{names[0]} to {names[-1]}"


def clone_member(cluster: Cluster) -> str:
    """Rebuild a secondary whose disk is lost, by a clone. Raises SetupError when it came back otherwise."""
    members = GroupMembers.of(cluster)
    number = _next(members, _primary(members))
    name = members.servers.name(number)
    supervision.stop(cluster, name)
    try:
        shutil.rmtree(cluster.mysql / f"member-{number}" / "data")
        for other in members.servers.numbers:
            if other != number:
                members.forget_history(other)
    finally:
        supervision.start(cluster, name)
    _wait_online(members, number)
    if not members.copied(number):
        raise SetupError(f"{name} joined again, and was not cloned")
    return name


def upgrade_shop(cluster: Cluster, folder: Path) -> str:
    """Put the previous release in the place of each process, one after the other, and then this one again."""
    names = layout.names("web", "worker", "issuer")
    return previous_shop.roll(cluster, names, folder)


MANEUVERS: Mapping[str, Callable[[Cluster], str]] = {
    "switchover": switchover,
    "members-restarted": restart_members,
    "members-killed": kill_members,
    "member-cloned": clone_member,
}
"""Each returns to what it happened, and when it is over; members come back by themselves after the kill."""


def _primary(members: GroupMembers) -> int:
    late = f"no member has been the primary for {ONLINE_SECONDS} s"
    return waiting.until(members.primary, late, within_seconds=ONLINE_SECONDS)


def _next(members: GroupMembers, number: int) -> int:
    return number % len(members.servers.numbers) + 1


def _wait_online(members: GroupMembers, number: int) -> None:
    late = f"{members.servers.name(number)} was not online after {ONLINE_SECONDS} s"
    waiting.until(lambda: members.conditions()[number].is_online, late, within_seconds=ONLINE_SECONDS)
