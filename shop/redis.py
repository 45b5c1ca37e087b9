"""Redis as an accelerator that may vanish: short calls, tried once, and a breaker.

Redis may refuse, never grant: whatever is read here the database would say too, only later.
redis-py retries by default, which repeats calls that must not be repeated (redis/redis-py#3559), so the
pool in settings is made without retries.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from structlog import get_logger

T = TypeVar("T")
log = get_logger(__name__)

# While Redis is away each call would cost its connect timeout: skip it for a second instead.
BREAK_SECONDS = 1.0
_open_until = 0.0


def client() -> Redis:
    """The process's pooled client."""
    connection: Redis = get_redis_connection("default")
    return connection


def attempt(call: Callable[[Redis], T], *, otherwise: T) -> T:
    """The call's result, or `otherwise` when Redis is away or slow."""
    global _open_until
    if time.monotonic() < _open_until:
        return otherwise
    try:
        return call(client())
    except (ConnectionError, TimeoutError) as error:
        _open_until = time.monotonic() + BREAK_SECONDS
        log.warning("redis away", error=str(error))
    except RedisError as error:
        log.warning("redis refused a call", error=str(error))
    return otherwise


def reset() -> None:
    """Forget that Redis was away (tests)."""
    global _open_until
    _open_until = 0.0
