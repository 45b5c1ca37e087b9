"""What differs between clusters with MySQL and with MariaDB, in one place. Everything else is the same."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.cluster import layout
from scripts.cluster.galera.members import GaleraMembers
from scripts.cluster.group_replication.members import GroupMembers
from scripts.cluster.layout import Cluster
from scripts.cluster.members import Members
from scripts.cluster.servers import mariadb, mysql
from scripts.stack import debian
from scripts.stack.processes import Command


@dataclass(frozen=True, kw_only=True)
class Database:
    """One of `layout.DATABASES`."""

    title: str
    processes: Mapping[str, Sequence[str]]
    """Those that only this database has, by their group in `supervision.GROUPS`."""
    route: str
    """The process at whose log to look when the shop's address of the database does not answer."""
    haproxy: str
    """The template of its settings."""
    members: Callable[[Cluster], Members]
    require: Callable[[], None]
    """Make or find its programs. Raises SetupError."""
    command: Callable[[Cluster, str, int], Command]
    """The command line of one of its processes, by its kind and number."""
    prepare: Callable[[Cluster, str, int], None]
    """What has to be there before that process starts. Raises SetupError."""
    data: Callable[[Cluster, int], Path]
    """The folder of a member's data."""
    copies_beside_schema_changes: bool
    """Whether members can be copied while tables are made: otherwise all join before the shop is migrated."""
    collectors: Sequence[str]
    """What its exporter collects beside the usual."""
    components: Sequence[str]
    """What a drill breaks of it: primary, secondary, what leads to a primary or names it, and others."""
    rebuild: str
    """The drill's name for taking a member's data away."""


def of(cluster: Cluster) -> Database:
    """The database of this cluster."""
    return DATABASES[cluster.database]


def members(cluster: Cluster) -> Members:
    """The members of its database."""
    return of(cluster).members(cluster)


def _mysql_command(cluster: Cluster, kind: str, number: int) -> Command:
    if kind == "mysql-keeper":
        return [sys.executable, "-m", "scripts.cluster.group_replication.keeper"]
    return mysql.member_command(number) if kind == "mysql" else mysql.router_command(number)


def _prepare_mysql(cluster: Cluster, kind: str, number: int) -> None:
    if kind == "mysql":
        mysql.prepare_member(cluster, number)
    elif kind == "router":
        mysql.prepare_router(cluster, number)


def _mariadb_command(cluster: Cluster, kind: str, number: int) -> Command:
    if kind == "mariadb-keeper":
        return [sys.executable, "-m", "scripts.cluster.galera.keeper"]
    return mariadb.member_command(cluster, number)


def _prepare_mariadb(cluster: Cluster, kind: str, number: int) -> None:
    if kind == "mariadb":
        mariadb.prepare_member(cluster, number)


DATABASES: Mapping[str, Database] = {
    "mysql": Database(
        title="MySQL",
        processes={
            "stores": layout.names("mysql"),
            "keepers": ["mysql-keeper"],
            "routes": layout.names("router"),
        },
        route="router-1",
        haproxy="haproxy-database.cfg",
        members=GroupMembers.of,
        require=debian.MYSQL.require,
        command=_mysql_command,
        prepare=_prepare_mysql,
        data=lambda cluster, number: cluster.mysql / f"member-{number}" / "data",
        copies_beside_schema_changes=True,
        collectors=("perf_schema.replication_group_members", "perf_schema.replication_group_member_stats"),
        components=("mysql-primary", "mysql-secondary", "router", "mysql-keeper"),
        rebuild="member-cloned",
    ),
    "mariadb": Database(
        title="MariaDB",
        processes={"stores": layout.names("mariadb"), "keepers": ["mariadb-keeper"], "routes": []},
        route="haproxy-database",
        haproxy="haproxy-galera.cfg",
        members=GaleraMembers.of,
        require=mariadb.require,
        command=_mariadb_command,
        prepare=_prepare_mariadb,
        data=lambda cluster, number: cluster.folder(f"mariadb-{number}") / "data",
        # The locks of its backup and a schema change on the member that is copied would break each other off.
        copies_beside_schema_changes=False,
        collectors=(),
        components=("mariadb-primary", "mariadb-secondary", "mariadb-keeper"),
        rebuild="member-rebuilt",
    ),
}
