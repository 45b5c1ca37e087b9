"""Checks of Galera and of replicas: who writes, and whether the secondary can be read.

A database of one server, without `DATABASE_READ_URL`, has no findings. The queries are in functions that
begin with `read_`, everything else judges what they found.
"""

import time
from collections.abc import Mapping
from typing import Any

from django.db import Error, connection, connections

from shop.db import secondary
from shop.operations.doctor import clocks
from shop.operations.doctor.findings import Finding, danger, ok, warning

Status = Mapping[str, str]
SAMPLE_SECONDS = 1.0
JEPSEN_GALERA = "https://jepsen.io/blog/2026-03-16-mariadb-galera-cluster-12.1.2"
WSREP = """
SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_cluster_size', 'wsrep_cluster_status',
    'wsrep_local_state_comment', 'wsrep_received', 'wsrep_replicated')
"""
FEWEST_NODES = 3
LONGEST_LAG_SECONDS = 1
LAG_COLUMNS = ("Seconds_Behind_Source", "Seconds_Behind_Master")
SQL_RUNS = ("Replica_SQL_Running", "Slave_SQL_Running")
IO_RUNS = ("Replica_IO_Running", "Slave_IO_Running")


def examine() -> list[Finding]:
    """The findings; none while the database is unreachable."""
    try:
        found = galera(*read_galera())
    except Error:
        return []
    return [*found, *_secondary_findings()]


def read_galera() -> tuple[Status, Status]:
    """The node's status, and the same a moment later; both are empty where Galera is off. Raises `Error`."""
    if connection.vendor != "mysql" or not getattr(connection, "mysql_is_mariadb", False):
        return {}, {}
    before = _pairs(WSREP)
    if before.get("wsrep_ready") is None or before.get("wsrep_cluster_size", "0") == "0":
        return {}, {}
    time.sleep(SAMPLE_SECONDS)
    return before, _pairs(WSREP)


def galera(before: Status, after: Status) -> list[Finding]:
    """The findings about the connected node."""
    if not after:
        return []
    return [galera_node(after), galera_size(after), galera_writers(before, after)]


def galera_node(status: Status) -> Finding:
    found = f"{status.get('wsrep_cluster_status')}, {status.get('wsrep_local_state_comment')}"
    if found != "Primary, Synced" or status.get("wsrep_ready") != "ON":
        advice = "The node is cut off, or not up to date: let DATABASE_URL lead to one that is."
        return danger("Galera node", found, advice)
    return ok("Galera node", found)


def galera_size(status: Status) -> Finding:
    size = int(status.get("wsrep_cluster_size", "0"))
    if size < FEWEST_NODES:
        return warning("Galera nodes", size, "The next failure may stop all writes: have three nodes.")
    return ok("Galera nodes", size)


def galera_writers(before: Status, after: Status) -> Finding:
    """Whether another node wrote meanwhile: the node to which DATABASE_URL leads must be the only one.

    A node receives what others have written, and what it has written itself is replicated.
    """
    received = int(after.get("wsrep_received", "0")) - int(before.get("wsrep_received", "0"))
    if received > 0:
        advice = (
            "Send all writes to one node, by one route for all processes. Jepsen found lost updates and "
            f"stale reads in a healthy Galera cluster with several writers: {JEPSEN_GALERA}"
        )
        return danger(
            "Galera writers", f"{received} write-sets of other nodes in {SAMPLE_SECONDS:g} s", advice
        )
    return ok("Galera writers", "no other node wrote meanwhile")


def read_secondary() -> tuple[bool, Mapping[str, Any], float]:
    """Whether the secondary has applied what the primary has, its replication, its clock. Raises `Error`."""
    has_caught_up = secondary.has_caught_up()
    with connections[secondary.ALIAS].cursor() as cursor:
        began_at = time.time()
        cursor.execute("SELECT UNIX_TIMESTAMP(NOW(6))")
        seconds, now = float(cursor.fetchone()[0]), (began_at + time.time()) / 2
    return has_caught_up, _replication(), seconds - now


def caught_up(is_so: bool) -> Finding:
    check = "secondary"
    if not is_so:
        advice = (
            "Lists of staff, exports and reports are read from the primary meanwhile. The primary needs a "
            "binary log with GTIDs, and the secondary has to replicate it; see docs/reads.md."
        )
        return warning(check, "has not applied what the primary has", advice)
    return ok(check, "has applied what the primary has")


def replica(status: Mapping[str, Any]) -> list[Finding]:
    """The findings about its replication; none if it is no replica, or its status may not be read."""
    if not status:
        return []
    check = "secondary replication"
    runs = _first(status, IO_RUNS), _first(status, SQL_RUNS)
    if runs != ("Yes", "Yes"):
        error = status.get("Last_SQL_Error") or status.get("Last_IO_Error") or "no error is known"
        return [warning(check, f"stopped: {error}", "Mend what it says, and START REPLICA.")]
    lag = _first(status, LAG_COLUMNS)
    if lag is None or int(lag) > LONGEST_LAG_SECONDS:
        found = "the lag is unknown" if lag is None else f"{lag} s behind"
        return [warning(check, found, "Let it apply in parallel, and keep long statements away from it.")]
    return [ok(check, f"{lag} s behind")]


def _secondary_findings() -> list[Finding]:
    if not secondary.is_configured():
        return []
    try:
        has_caught_up, status, ahead_seconds = read_secondary()
    except Error as error:
        advice = "The primary answers instead: start it, or correct DATABASE_READ_URL."
        return [warning("secondary", f"can't be read: {error}", advice)]
    return [
        caught_up(has_caught_up),
        *replica(status),
        clocks.clock_finding("secondary clock", ahead_seconds),
    ]


def _replication() -> Mapping[str, Any]:
    """The secondary's status as a replica; empty if it is none, or its user may not read it."""
    try:
        with connections[secondary.ALIAS].cursor() as cursor:
            cursor.execute("SHOW REPLICA STATUS")
            row = cursor.fetchone()
            names = [column[0] for column in cursor.description or ()]
    except Error:
        return {}
    return dict(zip(names, row, strict=True)) if row else {}


def _pairs(statement: str) -> Status:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return {str(name): str(value) for name, value in cursor.fetchall()}


def _first(status: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((status[name] for name in names if status.get(name) is not None), None)
