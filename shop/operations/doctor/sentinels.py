"""Checks of Redis Sentinel, where Redis is reached by it: whether a failover would find a majority.

A Redis that is reached by its own address has no findings.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import RedisError, ResponseError
from redis.sentinel import SentinelConnectionPool

from shop.operations.doctor.findings import Finding, danger, ok, warning
from shop.redis import redis_client

FEWEST_SENTINELS = 3


class Sentinel(NamedTuple):
    """A Sentinel as it answered; `refusal` is why a failover would not be decided, empty if it would.

    `error` is why it did not answer; then nothing else is known.
    """

    address: str
    replicas: int = 0
    refusal: str = ""
    error: str = ""


def examine() -> list[Finding]:
    """The findings; none where Redis is reached directly, or can't be reached, which has its own finding."""
    try:
        pool: Any = redis_client.client().connection_pool
    except RedisError:
        return []
    return judge(read(pool)) if isinstance(pool, SentinelConnectionPool) else []


def read(pool: Any) -> list[Sentinel]:
    """Ask each Sentinel of the pool about its service."""
    return [_read(sentinel, pool.service_name) for sentinel in pool.sentinel_manager.sentinels]


def judge(found: Sequence[Sentinel]) -> list[Finding]:
    """The findings about these Sentinels."""
    return [quorum(found), replicas(found)]


def quorum(found: Sequence[Sentinel]) -> Finding:
    check = "Sentinel quorum"
    answering = [one for one in found if not one.error]
    refusals = [f"{one.address}: {one.refusal}" for one in answering if one.refusal]
    counted = f"{len(answering)} of {len(found)} Sentinels answer"
    if refusals or len(answering) <= len(found) // 2:
        advice = "Nothing would replace a Redis that fails, and all would be slower: start the Sentinels."
        return danger(check, "; ".join([counted, *refusals]), advice)
    if len(answering) < max(FEWEST_SENTINELS, len(found)):
        absent = [f"{one.address}: {one.error}" for one in found if one.error]
        return warning(
            check, "; ".join([counted, *absent]), "Have three Sentinels, on machines of their own."
        )
    return ok(check, counted)


def replicas(found: Sequence[Sentinel]) -> Finding:
    count = min((one.replicas for one in found if not one.error), default=0)
    if not count:
        return warning("Redis replicas", "none", "Nothing could take over: add a replica.")
    return ok("Redis replicas", count)


def _read(sentinel: Any, service: str) -> Sentinel:
    options = sentinel.connection_pool.connection_kwargs
    address = f"{options.get('host')}:{options.get('port')}"
    try:
        known = sentinel.sentinel_master(service)
        try:
            sentinel.sentinel_ckquorum(service)
        except ResponseError as error:
            return Sentinel(address, int(known["num-slaves"]), refusal=str(error))
        return Sentinel(address, int(known["num-slaves"]))
    except RedisError as error:
        return Sentinel(address, error=str(error)[:200])
