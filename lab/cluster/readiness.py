"""Waiting for the cluster's parts, or saying with the end of a log why one does not come."""

import contextlib
import time
from collections.abc import Callable
from functools import partial

import MySQLdb

from lab.cluster import credentials, layout, steps
from lab.cluster.group_replication.members import GroupMembers
from lab.cluster.layout import Cluster
from lab.cluster.sentinels import primary_port
from scripts.stack import SetupError, ports
from scripts.stack.readiness import readiness_problem, wait_while

MOST_SECONDS = 600
"""Members recover from a crash, and may be cloned, on a machine that may be slow."""
DYING_SECONDS = 10
REFUSAL_SECONDS = 5
"""How long the keeper may see no way to found the group, while members still come up."""


def wait_for_stores(cluster: Cluster) -> None:
    """Return once database and Redis have a primary, and the broker takes connections. Raises SetupError."""
    _wait(cluster, "mysql-1", lambda: _database_problem(cluster))
    _wait(cluster, "sentinel-1", lambda: _redis_problem(cluster))
    for name in layout.names("rabbitmq"):
        _wait(cluster, name, partial(_port_problem, cluster, name))


def wait_for_members(cluster: Cluster) -> None:
    """Return once all members of the database are online. Raises SetupError."""
    _wait(cluster, "mysql-keeper", lambda: _members_problem(cluster))


def wait_for_database(cluster: Cluster) -> None:
    """Return once the shop's address of the database leads to a primary. Raises SetupError."""
    _wait(cluster, "router-1", lambda: _route_problem(cluster, "database"))


def wait_for_shop(cluster: Cluster) -> None:
    """Return once all web nodes are ready, and HAProxy says so too. Raises SetupError."""
    for number in layout.numbers("web"):
        _wait(cluster, f"web-{number}", partial(readiness_problem, cluster.port("web", number)))
    _wait(cluster, "haproxy-front", lambda: readiness_problem(cluster.port("front")))


def _database_problem(cluster: Cluster) -> str:
    members = GroupMembers.of(cluster)
    primary = members.primary()
    if primary is None:
        step = steps.last_step(cluster)
        return f"no member of MySQL is the primary: {step.reason if step else 'none is founded yet'}"
    with contextlib.suppress(MySQLdb.Error):
        is_closed = members.servers.ask(primary, "SELECT @@read_only") != ((0,),)
        return "it is read-only yet" if is_closed else ""
    return "the primary does not answer"


def _members_problem(cluster: Cluster) -> str:
    conditions = GroupMembers.of(cluster).conditions()
    return ", ".join(f"member {number} {one.text}" for number, one in conditions.items() if not one.is_online)


def _redis_problem(cluster: Cluster) -> str:
    return "" if primary_port(cluster) else "no Sentinel knows a primary"


def _port_problem(cluster: Cluster, name: str) -> str:
    kind, number = layout.split(name)
    return "" if ports.answers((ports.HOST, cluster.port(kind, number))) else "it accepts no connections"


def _route_problem(cluster: Cluster, kind: str) -> str:
    try:
        MySQLdb.connect(
            host=ports.HOST,
            port=cluster.port(kind),
            user="firstcome",
            passwd=credentials.read(cluster)["mysql-shop"],
            connect_timeout=2,
            read_timeout=2,
        ).close()
    except MySQLdb.Error as error:
        return f"the database's address refuses: {error}"
    return ""


def _wait(cluster: Cluster, name: str, problem: Callable[[], str]) -> None:
    refused_since: float | None = None

    def problem_unless_refused() -> str:
        nonlocal refused_since
        step, now = steps.last_step(cluster), time.monotonic()
        refused_since = (refused_since or now) if step and step.action == "refuse" else None
        if step and refused_since and now - refused_since > REFUSAL_SECONDS:
            raise SetupError(f"MySQL was not founded: {step.reason}")
        return problem()

    times = {"most_seconds": MOST_SECONDS, "dying_seconds": DYING_SECONDS}
    wait_while(problem_unless_refused, cluster.instance, name, **times)
