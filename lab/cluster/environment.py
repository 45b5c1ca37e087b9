"""The environment of the shop's processes in the cluster, and of management commands beside it."""

import shlex
from collections.abc import Mapping

from lab.cluster import credentials, layout
from lab.cluster.layout import Cluster
from scripts.stack import environment as environments, places

WEB_THREADS = 32
"""For each of three nodes. Together with the rest they need fewer connections than a member allows."""


def compose(cluster: Cluster, own: Mapping[str, str]) -> dict[str, str]:
    """The user's own settings, except for those that lead to the cluster's servers. Raises SetupError."""
    environment = environments.compose(cluster.instance, {**defaults(), **own})
    return {**environment, **servers(cluster), "FIRSTCOME_VAR": str(cluster.home.parent)}


def defaults() -> dict[str, str]:
    """What differs from `make run`, unless the user says otherwise."""
    return {
        # A failover takes up to ten seconds. A payment that gives up within it could neither be charged nor
        # cancelled, and its saga would be stuck until the database is back.
        "PAYMENT_GIVE_UP_SECONDS": "60",
        # One process each: there are three nodes, and two of them outlive the third.
        "WEB_WORKERS": "1",
        "WEB_THREADS": str(WEB_THREADS),
        # HAProxy names the client, and no other header may.
        "TRUSTED_PROXIES": "1",
    }


def servers(cluster: Cluster) -> dict[str, str]:
    """The settings that lead to the cluster's servers, and their passwords."""
    password = credentials.read(cluster)
    sentinels = ",".join(cluster.addresses("sentinel"))
    redis = f"redis+sentinel://:{password['redis']}@{sentinels}/primary/0?sentinel_password={password['sentinel']}"
    return {
        # Seconds until a statement counts as lost. The watch notices a server that hangs within four.
        "DATABASE_URL": f"mysql://firstcome:{password['mysql-shop']}@{cluster.address('database')}/firstcome?read_timeout=10",
        "REDIS_URL": redis,
        "BROKER_URL": broker_url(cluster, first=1),
        "BROKER_QUEUE_TYPE": "quorum",
        "METRICS_TOKEN": password["metrics-token"],
    }


def broker_url(cluster: Cluster, *, first: int) -> str:
    """The nodes of the broker, beginning with this one: connections spread over them."""
    password = credentials.read(cluster)["rabbitmq"]
    known = list(layout.numbers("rabbitmq"))
    order = known[first - 1 :] + known[: first - 1]
    return ";".join(
        f"amqp://firstcome:{password}@{cluster.address('rabbitmq', number)}//" for number in order
    )


def for_process(name: str, cluster: Cluster, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of one process of the shop: its own metrics, and its own first node of the broker."""
    kind, number = layout.split(name)
    own = dict(environment)
    if kind == "web":
        own["PROMETHEUS_MULTIPROC_DIR"] = str(cluster.instance.metrics / name)
    elif kind in ("worker", "issuer", "beat"):
        own["METRICS_PORT"] = str(cluster.port(kind, number))
    if kind in ("web", "worker", "issuer", "beat"):
        first = (number - 1) % layout.SIZES["rabbitmq"] + 1
        own["BROKER_URL"] = broker_url(cluster, first=first)
    return own


def write_file(cluster: Cluster, environment: Mapping[str, str]) -> None:
    """Write the cluster's settings as lines of shell, readable by this user alone."""
    chosen = {*servers(cluster), *defaults(), *environments.defaults(cluster.instance), "FIRSTCOME_VAR"}
    chosen.add("DJANGO_SETTINGS_MODULE")
    lines = [
        f"export {name}={shlex.quote(environment[name])}\n" for name in sorted(chosen & environment.keys())
    ]
    places.write_whole(cluster.environment_file, "".join(lines), mode=0o600)
