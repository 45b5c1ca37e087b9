"""Limits how much a process waits for partners: half of its threads, and not for one that is unavailable."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from django.conf import settings
from structlog import get_logger

from coupons.partners import named
from coupons.partners.contract import NoAnswer, NotReached, Partner
from shop.concurrency import thread_pool
from shop.errors import Unavailable
from shop.lazy_texts import mark as _
from shop.outbound.circuit_breaker import CircuitBreaker, CircuitOpen

Outcome = TypeVar("Outcome")
log = get_logger(__name__)
# Consecutive failures: single calls are late now and then although the partner is available.
FAILURES = 10
SECONDS_AWAY = 2
# Long enough for a call to a responsive partner to end, short enough for threads that other work needs.
PERMIT_WAIT_SECONDS = 0.25


def call_at_once(call: Callable[..., Outcome], *arguments: Iterable[Any], threads: int) -> list[Outcome]:
    """Make several calls at once, because partners are slow; returns their outcomes in order."""
    with ThreadPoolExecutor(threads, thread_name_prefix="partner") as pool:
        return list(pool.map(call, *arguments))


def is_unavailable(name: str) -> bool:
    """Whether the partner's circuit is open or it isn't configured, so that a call would fail."""
    return _breaker(name).is_open or named(name) is None


@contextmanager
def call_permit() -> Iterator[None]:
    """One of the permits for threads that call a partner. Raises `Unavailable` if none gets free soon."""
    # Kept in a local, because two concurrent first calls may each create a semaphore, of which one is cached.
    permits = _permits()
    if not permits.acquire(timeout=PERMIT_WAIT_SECONDS):
        raise Unavailable(_("The partner is slow, and too many requests wait for it; try again."))
    try:
        yield
    finally:
        permits.release()


@contextmanager
def partner_call(name: str) -> Iterator[Partner]:
    """The partner, for one call. Raises `NotReached` at once while its circuit is open."""
    partner = named(name)
    if partner is None:
        raise NotReached(f"no partner {name} is configured")
    try:
        with _breaker(name).guard(NotReached, NoAnswer):
            yield partner
    except CircuitOpen as error:
        raise NotReached("the partner is unavailable; it is tried again soon") from error
    except (NotReached, NoAnswer) as error:
        log.warning("a partner gave no answer", partner=name, reason=str(error))
        raise


def reset() -> None:
    """Forget all failures of partners (tests)."""
    _breaker.cache_clear()
    _permits.cache_clear()


@lru_cache
def _breaker(name: str) -> CircuitBreaker:
    return CircuitBreaker(f"partner {name}", failures=FAILURES, seconds=SECONDS_AWAY)


@lru_cache
def _permits() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(max(1, thread_pool.split_threads(settings.WEB_THREADS).calling // 2))
