"""Redis as an accelerator that may be unavailable: short calls, tried once, and a circuit breaker.

redis-py's retries repeat calls that must not be repeated (redis/redis-py#3559): the settings turn them off.
"""

from asyncio import _get_running_loop as running_loop
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from django.conf import settings
from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from structlog import get_logger

from foundation.errors import Unavailable
from foundation.lazy_texts import mark
from foundation.outbound.circuit_breaker import CircuitBreaker

T = TypeVar("T")
log = get_logger(__name__)
_breaker = CircuitBreaker("redis")


def client() -> Redis:
    """The process's pooled client. Raises `RuntimeError` on an event loop, which a call would block."""
    if running_loop() is not None:
        raise RuntimeError(
            "Redis is called on an event loop: use foundation.concurrency.event_loop.run_in_thread."
        )
    return _client_of(settings.CACHES["default"]["LOCATION"])


@lru_cache(maxsize=1)
def _client_of(_address: str) -> Redis:
    """Django makes its caches anew in each context, and a client takes two hundred calls to make."""
    connection: Redis = get_redis_connection("default")
    return connection


def attempt(call: Callable[[Redis], T], *, otherwise: T) -> T:
    """The call's result, or `otherwise` when Redis is unavailable or slow."""
    if not _breaker.allows_call():
        return otherwise
    try:
        result = call(client())
    except (ConnectionError, TimeoutError) as error:
        _breaker.record_failure()
        log.warning("redis unavailable", error=error)
        return otherwise
    except RedisError as error:
        log.warning("redis refused a call", error=error)
        result = otherwise
    _breaker.record_success()
    return result


def call_script(script: str, keys: Sequence[str], *arguments: Any) -> Any:
    """The script's reply; None when Redis is unavailable."""
    return attempt(lambda client: client.eval(script, len(keys), *keys, *arguments), otherwise=None)


def require(reply: T | None) -> T:
    """The reply of a call. Raises `Unavailable` without one."""
    if reply is None:
        raise unavailable()
    return reply


def unavailable() -> Unavailable:
    """The refusal of what can't be done without Redis."""
    return Unavailable(mark("This needs Redis, which is unavailable; nothing was done."))


reset = _breaker.record_success
"""Close the circuit breaker (tests)."""
