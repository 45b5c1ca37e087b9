"""What the cluster consists of: its processes by name, their ports, where their state lies, and the servers'
settings: templates of ops/cluster, filled in with ports, folders and passwords.

All ports lie below 32768, where Linux begins to give ports to outgoing connections: such a connection could
have a server's port when the server comes back.
"""

import csv
import os
import sys
import tomllib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from string import Template

from scripts.stack import Environment, Json, SetupError, Words, instance as instances, places, ports
from scripts.stack.instance import Instance

DEFAULT_PORT = 21000
PORTS = 64
TEMPLATES = places.PROJECT / "ops/cluster"


def declared(name: str) -> Json:
    """What a TOML file of ops/cluster declares."""
    return tomllib.loads((TEMPLATES / name).read_text())


SIZES: dict[str, int] = declared("ports.toml")  # How many there are of each kind with a port
# The port of each kind's number 1 after the cluster's first one; the others follow.
OFFSETS = dict(zip(SIZES, accumulate(SIZES.values(), initial=0), strict=False))
# Templates of which there is one for all processes.
SHARED = ("haproxy-front.cfg", "haproxy-database.cfg", "unavailable.http", "prometheus.yml", "member.sql")
# The name of MySQL's group. Members with another one don't join.
GROUP = uuid.UUID("5f1e57c0-0000-4000-8000-000000000970")


class Cluster(Instance):
    """The shop on a cluster on this machine, `make cluster PORT=… VAR=…`. Its `port` is the first of all."""

    def __init__(self, *, home: Path, port: int) -> None:
        super().__init__(home=home, port=port, database="cluster")
        self.settings = home / "settings"

    def port_of(self, name: str) -> int:
        """The port of a process, or one of its further ports: `mysql-group-2`."""
        kind, number = split(name)
        return self.port + OFFSETS[kind] + number - 1

    def address(self, name: str) -> str:
        return f"{ports.HOST}:{self.port_of(name)}"

    def addresses(self, kind: str) -> Words:
        return [self.address(name) for name in names(kind)]

    def folder(self, name: str) -> Path:
        """The data of one process, which outlasts its runs."""
        return self.home / "data" / name

    def password(self, name: str) -> str:
        """Made at the first start. MySQL takes no more than 32 characters for replication."""
        return places.secret(self.home, name)[:32]


def names(*kinds: str) -> Words:
    """The names of the processes of these kinds: `mysql-1`, …; a kind of one process is its own name."""
    result = []
    for kind in kinds:
        if SIZES.get(kind, 1) > 1:
            result += [f"{kind}-{number}" for number in range(1, SIZES[kind] + 1)]
        else:
            result.append(kind)
    return result


def split(name: str) -> tuple[str, int]:
    kind, _, number = name.rpartition("-")
    if number.isdigit():
        return (kind, int(number))
    return (name, 1)


def remembered() -> Cluster:
    """The cluster that was started last in this state folder. Raises SetupError where there was none."""
    home = places.state() / "cluster"
    last = instances.remembered(home)
    if last is None:
        raise SetupError(f"no cluster was started in {home}: use `make cluster`")
    return Cluster(home=home, port=last.port)


@dataclass(frozen=True, kw_only=True)
class ClusterProgram:
    """What ops/cluster/programs.toml says about a process, and explains."""

    group: str
    command: Words = ()
    options: Words = ()
    environment: Environment = field(default_factory=dict)
    in_root: bool = False
    at_once: bool = False
    stop_signal: str = "TERM"
    stop_seconds: int = 6


PROGRAMS = {
    name: ClusterProgram(group=group, **spec)
    for group, kinds in declared("programs.toml").items()
    for kind, spec in kinds.items()
    for name in names(kind)
}


def write_all(cluster: Cluster) -> None:
    """Write the settings of all servers, at each start of the cluster. redis-1 is the primary then.

    Redis and Sentinels write into theirs which server is the primary: a restart of a single process keeps it.
    """
    # Before several nodes would each make another one. Other passwords are made as the templates name them.
    cluster.password("erlang-cookie")
    for name in PROGRAMS:
        file = f"{split(name)[0]}.conf"
        if (TEMPLATES / file).exists():
            write(cluster, places.private_folder(cluster.folder(name)) / file, name)
    for template in SHARED:
        write(cluster, cluster.settings / template)


def write(cluster: Cluster, target: Path, name: str = "") -> None:
    """Fill in the template of the file's name, for this user alone: it may hold passwords."""
    places.write_whole(target, filled(cluster, (TEMPLATES / target.name).read_text(), name), mode=0o600)


def filled(cluster: Cluster, text: str, name: str = "") -> str:
    """The text with all ports (`${web_1_port}`), passwords, folders and the environment filled in, and with
    the process' own ports (`${web_port}`), number and folder. Raises KeyError for other names.
    """
    number = split(name)[1]
    folder = cluster.folder(name)

    class Known(dict[str, object]):
        def __missing__(self, key: str) -> object:
            of, _, what = key.replace("_", "-").rpartition("-")
            if what == "port":
                return cluster.port_of(f"{of}-{number}" if SIZES.get(of, 0) > 1 else of)
            return {"password": cluster.password, "uuid": member_uuid}[what](of)

    replica_of = f"replicaof {ports.HOST} {cluster.port_of('redis-1')}" if number > 1 else ""
    group_seeds = ",".join(cluster.addresses("mysql-group"))
    known = Known(
        os.environ,
        host=ports.HOST,
        home=cluster.home,
        settings=cluster.settings,
        project=places.PROJECT,
        python=sys.executable,
        group_name=GROUP,
        group_seeds=group_seeds,
        name=name,
        number=number,
        folder=folder,
        metrics=cluster.metrics / name,
        socket=places.socket_path(folder, "mysql.sock"),
        replicaof=replica_of,
    )
    return Template(text).substitute(known)


def balanced(port: int) -> Iterable[Mapping[str, str]]:
    """The rows of HAProxy's page of statistics at this port. Raises OSError."""
    _, page = ports.ask(port, "GET", "/statistics;csv")
    return csv.DictReader(page.removeprefix("# ").splitlines())


def member_uuid(name: str) -> str:
    """The identity of a member of MySQL's group, which is chosen here: the Routers' metadata name it."""
    return str(uuid.uuid5(GROUP, name))
