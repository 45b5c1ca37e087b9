"""Passwords of the cluster's servers, made at the first start of a state folder and kept there."""

from collections.abc import Mapping

from lab.cluster.layout import Cluster
from scripts.stack import places

LONGEST = 32
"""MySQL takes no longer password for replication. The characters need no quoting in a URL."""
NAMES = (
    "mysql-administrator",
    "mysql-replication",
    "mysql-shop",
    "mysql-router",
    "mysql-exporter",
    "redis",
    "sentinel",
    "rabbitmq",
    "erlang-cookie",
    "metrics-token",
)


def read(cluster: Cluster) -> dict[str, str]:
    """Every password, by its name."""
    return {name: places.secret(cluster.home, name)[:LONGEST] for name in NAMES}


def for_templates(cluster: Cluster) -> Mapping[str, str]:
    """The same, by names that templates can use."""
    return {f"{name.replace('-', '_')}_password": password for name, password in read(cluster).items()}
