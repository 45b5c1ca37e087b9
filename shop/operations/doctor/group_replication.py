"""Checks of a MySQL cluster, Group Replication: of its members, and of the settings that a failover needs.

A server that is in no group has no findings. The queries are in `read`, everything else judges what they
found. The user needs SELECT on `performance_schema`: without it the cluster can't be seen, and nothing is
said.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from django.db import Error, connection

from shop.operations.doctor.findings import Finding, danger, ok, warning

MEMBERS = """
SELECT members.MEMBER_HOST, members.MEMBER_PORT, members.MEMBER_STATE, members.MEMBER_ROLE,
    members.MEMBER_ID = @@server_uuid,
    COALESCE(stats.COUNT_TRANSACTIONS_IN_QUEUE + stats.COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE, 0)
FROM performance_schema.replication_group_members AS members
LEFT JOIN performance_schema.replication_group_member_stats AS stats USING (MEMBER_ID)
WHERE members.MEMBER_ID <> ''
ORDER BY members.MEMBER_HOST, members.MEMBER_PORT
"""
SETTINGS = "SHOW GLOBAL VARIABLES LIKE 'group_replication_%'"
MANY_QUEUED = 1_000
"""Transactions that a member still has to apply: before it serves as primary it applies all of them."""
LONGEST_EXPEL_SECONDS, LONGEST_MINORITY_SECONDS = 5, 30
JEPSEN_CLUSTERS = "https://jepsen.io/blog/2026-03-16-mariadb-galera-cluster-12.1.2"
CONSISTENT = {"BEFORE_ON_PRIMARY_FAILOVER", "BEFORE_AND_AFTER", "BEFORE", "AFTER"}
ENDING_ACTIONS = {"OFFLINE_MODE", "ABORT_SERVER"}
Settings = Mapping[str, str]


class Member(NamedTuple):
    """A member as the connected server sees it; `queued` transactions are still to be applied there."""

    host: str
    port: int
    state: str
    role: str
    is_connected: bool
    queued: int

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"


def examine() -> list[Finding]:
    """The findings; none while the database is unreachable, or is in no group."""
    try:
        members, settings = read()
    except Error:
        return []
    return judge(members, settings)


def read() -> tuple[list[Member], Settings]:
    """The members and the settings of the group; none of either on MariaDB and SQLite. Raises `Error`."""
    if connection.vendor != "mysql" or getattr(connection, "mysql_is_mariadb", False):
        return [], {}
    with connection.cursor() as cursor:
        cursor.execute(MEMBERS)
        members = [
            Member(host, int(port or 0), state, role, bool(is_connected), int(queued))
            for host, port, state, role, is_connected, queued in cursor.fetchall()
        ]
        cursor.execute(SETTINGS)
        settings = {name.removeprefix("group_replication_"): str(value) for name, value in cursor.fetchall()}
    return members, settings


def judge(members: Sequence[Member], settings: Settings) -> list[Finding]:
    """The findings about a group with these members and settings."""
    if not members:
        return []
    return [
        online(members),
        majority(members),
        route(members),
        writers(members, settings),
        queues(members),
        consistency(settings),
        expel_timeout(settings),
        minority_timeout(settings),
        exit_action(settings),
    ]


def online(members: Sequence[Member]) -> Finding:
    check = "cluster members"
    absent = [f"{one.name} is {one.state}" for one in members if one.state != "ONLINE"]
    found = f"{len(members) - len(absent)} of {len(members)} online"
    if absent:
        return warning(check, f"{found}; {', '.join(absent)}", "Start the member, or see its error log.")
    return ok(check, found)


def majority(members: Sequence[Member]) -> Finding:
    """How many members more may fail: a group that was left by one counts without it."""
    check, reachable = "cluster majority", [one for one in members if one.state != "UNREACHABLE"]
    needed = len(members) // 2 + 1
    found = f"{len(reachable)} of {len(members)} reachable, {needed} needed"
    if len(reachable) < needed:
        advice = "Commits wait for ever, or end in an error: bring the members back, or force the group."
        return danger(check, found, advice)
    alive = sum(one.state == "ONLINE" for one in members)
    if alive < 3:
        return warning(check, f"{alive} online", "The next failure stops all writes: have three members.")
    return ok(check, found)


def route(members: Sequence[Member]) -> Finding:
    """Whether DATABASE_URL leads to a member that writes, as a router or a proxy should see to."""
    check = "route to the primary"
    connected = next((one for one in members if one.is_connected), None)
    if connected is None:
        return danger(check, "the connected server is no member", "Let DATABASE_URL lead to the cluster.")
    found = f"{connected.name} is {connected.role or 'without a role'}, {connected.state}"
    if connected.role != "PRIMARY" or connected.state != "ONLINE":
        advice = (
            "All that the shop does needs the primary: use MySQL Router's read-write port, with the "
            "destinations metadata-cache://…?role=PRIMARY. Static destinations lead to a secondary."
        )
        return danger(check, found, advice)
    return ok(check, found)


def writers(members: Sequence[Member], settings: Settings) -> Finding:
    check = "cluster writers"
    primaries = [one.name for one in members if one.role == "PRIMARY"]
    if settings.get("single_primary_mode") != "ON" or len(primaries) > 1:
        advice = (
            "Let one member write: group_replication_switch_to_single_primary_mode(). A lock of SELECT … FOR "
            "UPDATE is not known to other members, which find a conflict at COMMIT alone, and only between "
            f"written rows. Jepsen found lost updates in such a cluster without any fault: {JEPSEN_CLUSTERS}"
        )
        return danger(check, f"multi-primary: {', '.join(primaries)}", advice)
    return ok(check, ", ".join(primaries) or "none at the moment")


def queues(members: Sequence[Member]) -> Finding:
    """How far members are behind, in transactions that they have certified and not applied yet."""
    check = "cluster lag"
    behind = [f"{one.name} {one.queued:,}" for one in members if one.queued > MANY_QUEUED]
    if behind:
        advice = "A failover to it takes until these are applied: give it faster disks, or less to do."
        return warning(check, f"transactions to apply: {', '.join(behind)}", advice)
    return ok(check, f"{max((one.queued for one in members), default=0):,} transactions to apply at most")


def consistency(settings: Settings) -> Finding:
    check, found = "group_replication_consistency", settings.get("consistency", "unknown")
    if found not in CONSISTENT:
        advice = (
            "A new primary would answer before it has applied what the old one acknowledged: SET PERSIST "
            "group_replication_consistency='BEFORE_ON_PRIMARY_FAILOVER' on each member."
        )
        return danger(check, found, advice)
    return ok(check, found)


def expel_timeout(settings: Settings) -> Finding:
    name = "group_replication_member_expel_timeout"
    seconds = _number(settings, "member_expel_timeout")
    if seconds is None or seconds > LONGEST_EXPEL_SECONDS:
        advice = "Writes stop for as long, and 5 s more, when the primary hangs: SET PERSIST it to 0."
        return warning(name, "unknown" if seconds is None else f"{seconds} s", advice)
    return ok(name, f"{seconds} s")


def minority_timeout(settings: Settings) -> Finding:
    """0 means that a member which sees no majority waits for ever, with its clients."""
    name = "group_replication_unreachable_majority_timeout"
    seconds = _number(settings, "unreachable_majority_timeout")
    if not seconds or seconds > LONGEST_MINORITY_SECONDS:
        advice = "Cut off from the majority, a primary would let its clients wait: SET PERSIST it to 5."
        return warning(name, "unknown" if seconds is None else f"{seconds} s", advice)
    return ok(name, f"{seconds} s")


def exit_action(settings: Settings) -> Finding:
    check, found = "group_replication_exit_state_action", settings.get("exit_state_action", "unknown")
    if found not in ENDING_ACTIONS:
        advice = (
            "A member that has left would go on to answer reads, ever older: SET PERSIST it to OFFLINE_MODE."
        )
        return warning(check, found, advice)
    return ok(check, found)


def _number(settings: Settings, name: str) -> int | None:
    value = settings.get(name, "")
    return int(value) if value.isdigit() else None
