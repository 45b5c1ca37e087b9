"""Addresses of Redis and of the broker: of one server, or of several that stand in for one another.

Redis: `redis://…`, or `redis+sentinel://[user:password@]sentinel,sentinel,…/primary[/number]`, where the
Sentinels know which server is the primary. The broker: one URL, or several with semicolons between them,
nodes of one cluster.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from shop.configuration import BROKER_SCHEMES, REDIS_SCHEMES, env, url

SENTINEL_SCHEME = "redis+sentinel"
SENTINEL_PORT = 26379
SENTINEL_TIMEOUT_SECONDS = 0.3
"""A Sentinel that is frozen delays each new connection by this, until another one has answered."""

BROKER_CONNECT_SECONDS = 1
"""For one node of the broker: a node that is frozen accepts connections, and doesn't answer on them."""
BROKER_HEARTBEAT_SECONDS = 5
"""Only a worker's connection has heartbeats. After two silent ones it goes to another node."""
QUEUE_TYPES = ("classic", "quorum")

_CONNECTION: dict[str, Any] = {
    "socket_timeout": 1,
    "socket_connect_timeout": 0.5,
    "max_connections": 256,
    "retry": None,
    "retry_on_error": [],
}
"""Redis accelerates and never decides, so calls are short and tried once."""


class Sentinels(NamedTuple):
    """What `redis+sentinel://` says."""

    addresses: tuple[tuple[str, int], ...]
    primary: str
    number: int
    username: str
    password: str
    sentinel_password: str


def redis_cache(name: str, default: str) -> dict[str, Any]:
    """Django's settings for the Redis at the URL in the variable `name`."""
    address = url(name, default, (*REDIS_SCHEMES, SENTINEL_SCHEME))
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": address}
    if not address.startswith(f"{SENTINEL_SCHEME}://"):
        return cache | {"OPTIONS": {"CONNECTION_POOL_KWARGS": _CONNECTION}}
    found = parse_sentinels(name, address)
    # The pool asks the Sentinels at each new connection. All calls go to the primary: what a replica has may
    # be older than what this process wrote.
    options = {
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "CONNECTION_POOL_KWARGS": _CONNECTION,
        "SENTINELS": list(found.addresses),
        "SENTINEL_KWARGS": {
            "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
            "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
            "password": found.sentinel_password or None,
            # The next Sentinel is asked instead.
            "retry": Retry(NoBackoff(), 0),
        },
        "USERNAME": found.username,
        "PASSWORD": found.password,
    }
    return cache | {"LOCATION": f"redis://{found.primary}/{found.number}", "OPTIONS": options}


def parse_sentinels(name: str, address: str) -> Sentinels:
    """The parts of a `redis+sentinel://` URL. Raises `ImproperlyConfigured`, without the passwords."""
    parts = urlsplit(address)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    primary, _, number = parts.path.strip("/").partition("/")
    addresses = tuple(_host_and_port(name, host) for host in hosts.split(",") if host)
    if not addresses or not primary or not (number or "0").isdigit():
        raise ImproperlyConfigured(
            f"{name} must be {SENTINEL_SCHEME}://user:password@sentinel:{SENTINEL_PORT},…/primary/0, with "
            "the name that the Sentinels give the primary."
        )
    asked = parse_qs(parts.query)
    return Sentinels(
        addresses=addresses,
        primary=primary,
        number=int(number or 0),
        username=unquote(username),
        password=unquote(password),
        sentinel_password=asked.get("sentinel_password", [""])[0],
    )


def broker_urls(name: str, default: str) -> list[str]:
    """The URLs of the broker's nodes, one or more, all of one scheme."""
    value: str = env.str(name, default=default)
    found = [one for one in value.split(";") if one]
    for one in found or [value]:
        scheme, separator, rest = one.partition("://")
        if scheme not in BROKER_SCHEMES or not separator or not rest:
            known = ", ".join(f"{scheme}://" for scheme in BROKER_SCHEMES)
            raise ImproperlyConfigured(
                f"{name} must be a URL that begins with {known}; or several, with semicolons between them."
            )
    if len({urlsplit(one).scheme for one in found}) > 1:
        raise ImproperlyConfigured(f"{name} names several nodes of one broker: all need the same scheme.")
    return found


def broker_transport_options(
    urls: Sequence[str], *, visibility_timeout: int, queue_type: str = QUEUE_TYPES[0]
) -> dict[str, Any]:
    """kombu's options of a connection: time limits, and how often it tries another node."""
    nodes = len(urls)
    options: dict[str, Any] = {
        "visibility_timeout": visibility_timeout,
        "socket_timeout": 2,
        "socket_connect_timeout": 1,
        # Each node is tried once. kombu would go on for six seconds; a task that can't be sent runs in this
        # process (`shop.operations.dispatch`).
        "max_retries": nodes - 1,
    }
    if nodes > 1:
        # kombu gives up after the time for one connection, which a frozen node alone uses up.
        options["connect_retries_timeout"] = nodes * BROKER_CONNECT_SECONDS + 1
    if queue_type == "quorum":
        # A message is sent once most nodes have it; without this, a node that crashes loses it unnoticed.
        options["confirm_publish"] = True
        # kombu closes the channel of a send that was not confirmed, and would wait for the reply for ever.
        options["read_timeout"] = options["write_timeout"] = 2
    return options


def broker_queue_type(name: str, urls: Sequence[str]) -> str:
    """`classic` or `quorum`; quorum queues are RabbitMQ's."""
    value: str = env.str(name, default=QUEUE_TYPES[0])
    if value not in QUEUE_TYPES:
        raise ImproperlyConfigured(f"{name} is {value!r}: choose from {', '.join(QUEUE_TYPES)}.")
    if value == "quorum" and not is_rabbitmq(urls):
        raise ImproperlyConfigured(f"{name} is quorum, which only RabbitMQ has: BROKER_URL must be amqp://.")
    return value


def is_rabbitmq(urls: Sequence[str]) -> bool:
    """Whether these are addresses of RabbitMQ."""
    return urls[0].startswith(("amqp://", "amqps://"))


def _host_and_port(name: str, host: str) -> tuple[str, int]:
    try:
        parts = SplitResult("", host, "", "", "")
        return parts.hostname or "", parts.port or SENTINEL_PORT
    except ValueError:
        raise ImproperlyConfigured(f"{name} has a Sentinel whose port is not a number: {host}") from None
