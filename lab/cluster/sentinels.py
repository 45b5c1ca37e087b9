"""What the Sentinels say about Redis: which server is the primary, and the state of each."""

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from lab.cluster import credentials, layout
from lab.cluster.layout import Cluster
from scripts.stack import ports

SECONDS = 1


def primary_port(cluster: Cluster) -> int | None:
    """The port of the primary that most Sentinels name, if it is one and writes."""
    named = [*filter(None, (primary_as_named_by(cluster, one) for one in layout.numbers("sentinel")))]
    for port in set(named):
        if named.count(port) * 2 > layout.SIZES["sentinel"] and _role(cluster, port) == "master":
            return port
    return None


def state(cluster: Cluster, number: int) -> dict[str, Any] | None:
    """Redis' own account of its replication, or None when it doesn't answer."""
    password = credentials.read(cluster)["redis"]
    try:
        with _client(cluster.port("redis", number), password) as client:
            found: dict[str, Any] = client.info("replication")
            return found
    except RedisError:
        return None


def primary_as_named_by(cluster: Cluster, number: int) -> int | None:
    """The port of the primary as one Sentinel names it, or None when it doesn't answer."""
    password = credentials.read(cluster)["sentinel"]
    try:
        with _client(cluster.port("sentinel", number), password) as client:
            address = client.sentinel_get_master_addr_by_name("primary")
    except RedisError:
        return None
    return int(address[1]) if address else None


def _role(cluster: Cluster, port: int) -> str:
    found = state(cluster, port - cluster.port("redis") + 1)
    return str(found["role"]) if found else ""


def _client(port: int, password: str) -> Redis:
    retry = Retry(NoBackoff(), 0)
    return Redis(
        ports.HOST,
        port,
        password=password,
        socket_timeout=SECONDS,
        socket_connect_timeout=SECONDS,
        retry=retry,
    )
