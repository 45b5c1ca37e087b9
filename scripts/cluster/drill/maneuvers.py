"""What an operator does to the cluster, and what happens to several members at once."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.cluster import layout, supervision, templates
from scripts.cluster.drill import previous_shop
from scripts.cluster.layout import Cluster
from scripts.cluster.members import Members
from scripts.stack import SetupError, process_identity

ONLINE_SECONDS = 240


def switchover(cluster: Cluster) -> str:
    """Have a secondary become the primary. Raises SetupError, and MySQLdb's errors."""
    members = Members(cluster)
    old = _primary(members)
    new = old % layout.SIZES["mysql"] + 1
    _make_primary(members, new)
    return f"mysql-{old} to mysql-{new}"


def restart_members(cluster: Cluster) -> str:
    """Restart one member after the other as for another version, the primary last and after a switchover."""
    members = Members(cluster)
    order = sorted(layout.numbers("mysql"), key=lambda number: number == _primary(members))
    for number in order:
        if _primary(members) == number:
            _make_primary(members, order[0])
        supervision.stop(cluster, f"mysql-{number}")
        supervision.start(cluster, f"mysql-{number}")
        _wait_online(members, number)
    return "mysql-" + ", ".join(map(str, order))


def kill_members(cluster: Cluster) -> str:
    """Kill all members at the same moment, as a power cut would."""
    names = layout.names("mysql")
    pids = [process_identity.group_of(cluster.instance.run, name) for name in names]
    process_identity.kill(set().union(*pids))
    return "mysql-1 to mysql-3"


def clone_member(cluster: Cluster) -> str:
    """Rebuild a secondary whose disk is lost, when the others lack the binary logs of its beginning.

    Raises SetupError when it came back in another way than by clone.
    """
    members = Members(cluster)
    number = _primary(members) % layout.SIZES["mysql"] + 1
    supervision.stop(cluster, f"mysql-{number}")
    try:
        shutil.rmtree(cluster.mysql / f"member-{number}" / "data")
        for other in layout.numbers("mysql"):
            if other != number:
                _purge_binary_logs(members, other)
    finally:
        supervision.start(cluster, f"mysql-{number}")
    _wait_online(members, number)
    states = members.ask(number, "SELECT STATE FROM performance_schema.clone_status")
    if states != (("Completed",),):
        raise SetupError(f"mysql-{number} joined again, and was not cloned: {states}")
    return f"mysql-{number}"


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


def _primary(members: Members) -> int:
    deadline = time.monotonic() + ONLINE_SECONDS
    while (found := members.primary()) is None:
        if time.monotonic() > deadline:
            raise SetupError(f"no member has been the primary for {ONLINE_SECONDS} s")
        time.sleep(0.2)
    return found


def _make_primary(members: Members, number: int) -> None:
    statement = f"SELECT group_replication_set_as_primary('{templates.member_uuid(number)}')"
    members.ask(number, statement, seconds=60)


def _purge_binary_logs(members: Members, number: int) -> None:
    with members.connected(number, seconds=30) as connection:
        for statement in ("FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"):
            connection.query(statement)


def _wait_online(members: Members, number: int) -> None:
    deadline = time.monotonic() + ONLINE_SECONDS
    while time.monotonic() < deadline:
        view = members.view(number)
        if view and view.state == "ONLINE":
            return
        time.sleep(0.5)
    raise SetupError(f"mysql-{number} was not online after {ONLINE_SECONDS} s")
