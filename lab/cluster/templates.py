"""The servers' settings: templates of ops/cluster, filled in with ports, folders and passwords."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from string import Template

from lab.cluster import credentials, layout
from lab.cluster.layout import Cluster
from scripts.stack import SetupError, places, ports

FOLDER = places.PROJECT / "ops" / "cluster"
GROUP = uuid.UUID("5f1e57c0-0000-4000-8000-000000000970")
"""The name of MySQL's group. Members with another one don't join."""


def render(name: str, cluster: Cluster, *, number: int = 1, **more: object) -> str:
    """The settings of one server. Raises SetupError when the template names a value that doesn't exist."""
    known = values(cluster) | {"number": str(number)} | {key: str(value) for key, value in more.items()}
    try:
        return Template((FOLDER / name).read_text()).substitute(known)
    except (KeyError, ValueError) as error:
        raise SetupError(f"ops/cluster/{name} can't be filled in: {error}") from error


def write(target: Path, name: str, cluster: Cluster, *, number: int = 1, **more: object) -> None:
    """Write the settings of one server, which this user alone may read: they hold passwords."""
    places.write_whole(target, render(name, cluster, number=number, **more), mode=0o600)


def values(cluster: Cluster) -> dict[str, str]:
    """What every template may name: each port as `web_1_port`, each folder, and the passwords."""
    known = {
        "host": ports.HOST,
        "home": str(cluster.home),
        "project": str(places.PROJECT),
        "settings": str(cluster.settings),
        "logs": str(cluster.instance.logs),
        "group_name": str(GROUP),
    }
    known["group_seeds"] = ",".join(cluster.addresses("mysql-group", like="mysql"))
    known |= {f"member_{number}_uuid": member_uuid(number) for number in layout.numbers("mysql")}
    return {**known, **_ports(cluster), **credentials.for_templates(cluster)}


def member_uuid(number: int) -> str:
    """The identity of a member of MySQL's group, which is chosen here: the Routers' metadata name it."""
    return str(uuid.uuid5(GROUP, f"member {number}"))


def _ports(cluster: Cluster) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for kind in layout.OFFSETS:
        # `mysql-group` and the like are more ports of the processes of `mysql`.
        owner = kind if kind in layout.SIZES else kind.partition("-")[0]
        name = kind.replace("-", "_")
        if owner in layout.SIZES and kind != "redis-exporter":
            found |= {
                f"{name}_{number}_port": str(cluster.port(kind, number)) for number in layout.numbers(owner)
            }
        else:
            found[f"{name}_port"] = str(cluster.port(kind))
    return found
