"""The servers' settings: templates of ops/cluster, filled in with ports, folders and passwords."""

import os
import sys
import uuid
from pathlib import Path
from string import Template

from lab.cluster.layout import PROGRAMS, SIZES, Cluster, names, split
from scripts.stack import places, ports

FOLDER = places.PROJECT / "ops" / "cluster"
GROUP = uuid.UUID("5f1e57c0-0000-4000-8000-000000000970")
"""The name of MySQL's group. Members with another one don't join."""
PASSWORDS = (
    *("mysql-administrator", "mysql-replication", "mysql-shop", "mysql-router", "mysql-exporter"),
    *("redis", "sentinel", "rabbitmq"),
)


def write_all(cluster: Cluster) -> None:
    """Write the settings of all servers, at each start of the cluster. redis-1 is the primary then.

    Redis and Sentinels write into theirs which server is the primary: a restart of a single process keeps it.
    """
    for name in PROGRAMS:
        if (FOLDER / (file := f"{split(name)[0]}.conf")).exists():
            write(cluster, places.private_folder(cluster.folder(name)) / file, name)
    for template in ("haproxy-front.cfg", "haproxy-database.cfg", "unavailable.http", "prometheus.yml"):
        write(cluster, cluster.settings / template)


def write(cluster: Cluster, target: Path, name: str = "") -> None:
    """Fill in the template of the file's name, for this user alone: it may hold passwords."""
    places.write_whole(target, filled(cluster, (FOLDER / target.name).read_text(), name), mode=0o600)


def filled(cluster: Cluster, text: str, name: str = "") -> str:
    """The text with all ports (`${web_1_port}`), passwords, folders and the environment filled in, and with
    the process' own ports (`${web_port}`), number and folder. Raises KeyError for other names.
    """
    _, number = split(name)
    known: dict[str, object] = {
        "host": ports.HOST,
        "home": cluster.home,
        "project": places.PROJECT,
        "python": sys.executable,
        "settings": cluster.settings,
        "group_name": GROUP,
        "group_seeds": ",".join(cluster.addresses("mysql-group")),
        "name": name,
        "number": number,
        "folder": cluster.folder(name),
        "metrics": cluster.metrics / name,
        "socket": places.socket_path(cluster.folder(name), "mysql.sock"),
        "replicaof": f"replicaof {ports.HOST} {cluster.port_of('redis-1')}" if number > 1 else "",
    }
    known |= {f"{name}_password": cluster.password(name) for name in PASSWORDS}
    known |= {f"{name}_uuid": member_uuid(name) for name in names("mysql")}
    known |= {f"{name}_port": cluster.port_of(name) for name in names(*SIZES)}
    known |= {f"{of}_port": cluster.port_of(f"{of}-{number}") for of, size in SIZES.items() if size >= number}
    ours = {name.replace("-", "_"): value for name, value in known.items()}
    return Template(text).substitute({**os.environ, **ours})


def member_uuid(name: str) -> str:
    """The identity of a member of MySQL's group, which is chosen here: the Routers' metadata name it."""
    return str(uuid.uuid5(GROUP, name))
