"""Three Redis servers and three Sentinels, which decide which server is the primary."""

import re
from pathlib import Path

from lab.cluster import layout, templates
from lab.cluster.layout import Cluster
from scripts.stack import places, system_packages
from scripts.stack.processes import Command


def command(cluster: Cluster, kind: str, number: int) -> Command:
    """redis-server with the settings that it, or a Sentinel, has changed since."""
    mode = ["--sentinel"] if kind == "sentinel" else []
    return [system_packages.program("redis-server"), str(settings_of(cluster, kind, number)), *mode]


def prepare(cluster: Cluster) -> None:
    """Write the settings of all, at each start of the cluster; the last primary stays the primary.

    Once they run, Sentinels write into these files which is the primary, so a restart of a single one keeps
    them.
    """
    primary = last_primary(cluster)
    for number in layout.numbers("redis"):
        folder = places.private_folder(cluster.folder(f"redis-{number}"))
        target = settings_of(cluster, "redis", number)
        port = cluster.port("redis", number)
        templates.write(target, "redis.conf", cluster, number=number, port=port, folder=folder)
        if number != primary:
            with target.open("a") as lines:
                lines.write(f"replicaof {cluster.address('redis', primary).replace(':', ' ')}\n")
    for number in layout.numbers("sentinel"):
        folder = places.private_folder(cluster.folder(f"sentinel-{number}"))
        own = {"port": cluster.port("sentinel", number), "primary_port": cluster.port("redis", primary)}
        target = settings_of(cluster, "sentinel", number)
        templates.write(target, "sentinel.conf", cluster, number=number, folder=folder, **own)


def settings_of(cluster: Cluster, kind: str, number: int) -> Path:
    """Beside the data: the server rewrites it, through another file in the same folder."""
    return cluster.folder(f"{kind}-{number}") / f"{kind}.conf"


def last_primary(cluster: Cluster) -> int:
    """The number of the Redis that was the primary last, as the Sentinel with the latest failover says."""
    known = [settings_of(cluster, "sentinel", number) for number in layout.numbers("sentinel")]
    found = [primary_in(path.read_text()) for path in known if path.exists()]
    _, port = max(found, default=(0, None), key=lambda one: one[0])
    by_port = {cluster.port("redis", number): number for number in layout.numbers("redis")}
    return by_port.get(port or 0, 1)


def primary_in(settings: str) -> tuple[int, int | None]:
    """The epoch of a Sentinel's settings, and the port of the primary in them."""
    monitored = re.search(r"^sentinel monitor \S+ \S+ (\d+)", settings, flags=re.MULTILINE)
    epoch = re.search(r"^sentinel config-epoch \S+ (\d+)", settings, flags=re.MULTILINE)
    return (int(epoch[1]) if epoch else 0, int(monitored[1]) if monitored else None)
