"""Checks of Redis: it only accelerates, but some of its keys must not be evicted."""

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from shop.operations.doctor.findings import Finding, danger, judge, warning
from shop.redis import redis_client

OLDEST_REDIS = (6, 2)


def examine() -> list[Finding]:
    """The findings about the Redis of locks, claims and limits."""
    try:
        client = redis_client.client()
        return [version(client), eviction(client, "Redis eviction", is_broker=False)]
    except RedisError as error:
        return [unreachable(error)]


def unreachable(error: RedisError) -> Finding:
    """The finding when Redis can't be reached: a danger only if orders need it."""
    found, advice = f"can't be reached: {error}", "start it, or correct REDIS_URL."
    if settings.INVENTORY_STRATEGY == "redis_gate":
        return danger("Redis", found, f"INVENTORY_STRATEGY=redis_gate refuses orders without it: {advice}")
    return warning("Redis", found, f"Everything works, but slower, and limits count per process: {advice}")


def version(client: Redis) -> Finding:
    found = str(client.info("server")["redis_version"])
    is_old = tuple(int(part) for part in found.split(".")[:2]) < OLDEST_REDIS
    advice = "Use 6.2 or later: commands that the shop needs are missing."
    return judge("Redis version", found, is_old, "danger", advice)


def eviction(client: Redis, check: str, *, is_broker: bool) -> Finding:
    """Whether a full Redis refuses writes, or evicts keys."""
    policy = read_setting(client, "maxmemory-policy")
    if policy is None:
        return warning(check, "unknown: CONFIG GET is refused", "Make sure that it is `noeviction`.")
    lost = "queued tasks" if is_broker else "locks and sign-in limits while they are in force"
    advice = f"CONFIG SET maxmemory-policy noeviction: a full Redis would drop {lost}."
    return judge(check, policy, policy != "noeviction", "danger" if is_broker else "warning", advice)


def persistence(client: Redis, check: str) -> Finding:
    """Whether a restart loses queued tasks, whose work the sweeps find later."""
    appended, saved = read_setting(client, "appendonly"), read_setting(client, "save")
    if appended is None or saved is None:
        return warning(check, "unknown: CONFIG GET is refused", "Make sure that the append-only file is on.")
    found = "append-only file" if appended == "yes" else f"snapshots: {saved or 'none'}"
    advice = "CONFIG SET appendonly yes: a restart would lose queued tasks."
    return judge(check, found, appended != "yes" and not saved, "warning", advice)


def read_setting(client: Redis, name: str) -> str | None:
    """One setting of the server, or None if CONFIG GET is refused."""
    try:
        values: dict[str, str] = client.config_get(name)  # type: ignore[assignment]
    except RedisError:
        return None
    value = values.get(name)
    return value.decode() if isinstance(value, bytes) else value
