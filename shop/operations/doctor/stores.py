"""Checks of Redis, which only accelerates, but must not evict some keys; and of the broker: whether it keeps
tasks, and delivers each to one worker at a time.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from kombu import Connection
from redis import Redis
from redis.exceptions import RedisError

from shop.celery import app
from shop.operations import broker_connections
from shop.operations.doctor.findings import Finding, judge
from shop.redis import redis_client

CONNECT_TIMEOUT_SECONDS = 2.0
OLDEST_REDIS = (6, 2)
UNKNOWN = "unknown: CONFIG GET is refused"


def examine() -> Iterator[Finding]:
    yield from redis()
    yield from broker()


def redis() -> Iterator[Finding]:
    """The findings about the Redis of locks, claims and limits."""
    try:
        client = redis_client.client()
        version = str(client.info("server")["redis_version"])
        is_old = tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS
        yield judge("Redis version", version, is_old)
        yield _eviction(client, "Redis eviction")
    except RedisError as error:
        is_needed = settings.INVENTORY_STRATEGY == "redis_gate"
        yield judge("Redis", f"can't be reached: {error}", True, "Redis for orders" if is_needed else "")


def broker() -> Iterator[Finding]:
    url, options = str(settings.CELERY_BROKER_URL), settings.CELERY_BROKER_TRANSPORT_OPTIONS
    if url.startswith("redis"):
        # With Redis, a task that is not finished within this time is delivered to another worker as well.
        seconds, limit = int(options.get("visibility_timeout", 3600)), int(settings.CELERY_TASK_TIME_LIMIT)
        yield judge("visibility timeout", f"{seconds} s, tasks may take {limit} s", seconds <= limit)
    try:
        with broker_connections.connected(within_seconds=CONNECT_TIMEOUT_SECONDS) as connection:
            yield judge("broker", connection.transport.driver_type, is_wrong=False)
            if url.startswith("redis"):
                channel: Any = connection.default_channel
                yield _eviction(channel.client, "broker eviction")
                yield _persistence(channel.client)
            if connection.transport.driver_type == "amqp":
                kind = str(app.conf.get("task_default_queue_type") or "classic")
                refused = _refused_queues(connection) if kind == "quorum" else []
                yield from queue_type(kind, nodes=len(url.split(";")), refused=refused)
                yield from confirmations(kind, are_awaited=bool(options.get("confirm_publish")))
    except Exception as error:
        # Each transport has its own errors, without a common base class in kombu.
        yield judge("broker", f"can't be reached: {error}", is_wrong=True)


def queue_type(kind: str, *, nodes: int, refused: Sequence[str]) -> list[Finding]:
    """The finding about the queues of a RabbitMQ cluster: `refused` are those of another type than `kind`.

    A broker of one node with classic queues has none.
    """
    check, found = "broker queues", f"{kind}, with {nodes} nodes in BROKER_URL"
    if kind != "quorum":
        return [judge(check, found, True, "classic queues")] if nodes > 1 else []
    if refused:
        return [judge(check, f"not quorum queues: {', '.join(refused)}", is_wrong=True)]
    return [judge(check, found, nodes < 3, "few nodes")]


def confirmations(kind: str, *, are_awaited: bool) -> list[Finding]:
    """Whether publishers wait until a majority of the nodes has the message."""
    found = "awaited" if are_awaited else "not awaited"
    return [judge("broker confirmations", found, not are_awaited)] if kind == "quorum" else []


def _refused_queues(connection: Connection) -> list[str]:
    """The queues that exist with other arguments than ours; declared as workers declare them."""
    refused = []
    for queue in app.amqp.queues.values():
        try:
            with connection.channel() as channel:
                queue(channel).queue_declare()
        except connection.channel_errors:
            refused.append(str(queue.name))
    return refused


def _eviction(client: Redis, check: str) -> Finding:
    """Whether a full Redis refuses writes, or evicts keys."""
    policy = _read_setting(client, "maxmemory-policy")
    if policy is None:
        return judge(check, UNKNOWN, True, "unknown eviction")
    return judge(check, policy, policy != "noeviction")


def _persistence(client: Redis) -> Finding:
    """Whether a restart loses queued tasks, whose work the sweeps find later."""
    check = "broker persistence"
    appended, saved = _read_setting(client, "appendonly"), _read_setting(client, "save")
    if appended is None or saved is None:
        return judge(check, UNKNOWN, True, "unknown persistence")
    found = "append-only file" if appended == "yes" else f"snapshots: {saved or 'none'}"
    return judge(check, found, appended != "yes" and not saved)


def _read_setting(client: Redis, name: str) -> str | None:
    """One setting of the server, or None if CONFIG GET is refused."""
    try:
        values: dict[str, str] = client.config_get(name)  # type: ignore[assignment]
    except RedisError:
        return None
    value = values.get(name)
    return value.decode() if isinstance(value, bytes) else value
