"""A circuit breaker before the gateway: when it is away, workers hear so at once instead of waiting for it.

The breaker is the `circuitbreaker` library's; one process has one. Only silence counts: no connection, no
reply in time, a broken connection. Any HTTP answer, a 500 too, says that somebody is there.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from circuitbreaker import STATE_HALF_OPEN, CircuitBreaker
from structlog import get_logger

log = get_logger(__name__)
SILENCES = 10
"""In a row: a single card may well make a gateway time out, and other cards then count it away again."""
SECONDS = 2


class NoAnswer(Exception):
    """Nothing came back that says what happened. The text says what came instead, and names no card."""


class Away(NoAnswer):
    """Nobody answered, as if nobody were there."""


_breaker = CircuitBreaker(
    failure_threshold=SILENCES, recovery_timeout=SECONDS, expected_exception=Away, name="gateway"
)
# Without it everybody who waits would try at once when the time is over, and wait for the time-out together.
_trying = threading.Lock()


@contextmanager
def watched() -> Iterator[None]:
    """Around one call. Raises `NoAnswer`, and nothing is called, while the gateway is away.

    After `SECONDS` one caller at a time tries, and with the first answer it is open to all again.
    """
    if _breaker.opened:
        raise _told()
    if _breaker.state != STATE_HALF_OPEN:
        with _counted():
            yield
        return
    if not _trying.acquire(blocking=False):
        raise _told()
    try:
        with _counted():
            yield
    finally:
        _trying.release()


@contextmanager
def _counted() -> Iterator[None]:
    try:
        with _breaker:
            yield
    except Away as error:
        if _breaker.opened:
            log.error("gateway counts as away", for_seconds=SECONDS, reason=str(error))
        raise


def forget() -> None:
    """Think well of the gateway again; for tests, whose gateways come and go."""
    _breaker.reset()


def _told() -> NoAnswer:
    return NoAnswer("the gateway is away; it is asked again soon")
