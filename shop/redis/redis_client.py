"""Redis as an accelerator that may vanish: short calls, tried once, and a breaker.

Redis may refuse, never grant: whatever is read here the database would say too, only later.
redis-py retries by default, which repeats calls that must not be repeated (redis/redis-py#3559), so the
pool in settings is made without retries.
"""

from asyncio import _get_running_loop as running_loop
from collections.abc import Callable
from typing import TypeVar

from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from structlog import get_logger

from shop.outbound.breaker import Breaker

T = TypeVar("T")
log = get_logger(__name__)
_breaker = Breaker()


def client() -> Redis:
    """The process's pooled client. On an event loop, which it would block, it raises `RuntimeError`."""
    if running_loop() is not None:
        raise RuntimeError(
            "Redis is called on an event loop: call it by shop.concurrency.event_loop.run_in_thread."
        )
    connection: Redis = get_redis_connection("default")
    return connection


def attempt(call: Callable[[Redis], T], *, otherwise: T) -> T:
    """The call's result, or `otherwise` when Redis is away or slow."""
    if not _breaker.lets_through():
        return otherwise
    try:
        result = call(client())
    except (ConnectionError, TimeoutError) as error:
        _breaker.failed()
        log.warning("redis away", error=str(error))
        return otherwise
    except RedisError as error:
        log.warning("redis refused a call", error=str(error))
        result = otherwise
    _breaker.worked()
    return result


def reset() -> None:
    """Forget that Redis was away (tests)."""
    _breaker.worked()
