"""How long a process waits for partners: with half of its threads for calls, and not for one who is away.

So a partner that hangs costs the campaigns that need it, and nobody else.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from django.conf import settings
from structlog import get_logger

from coupons.partners import named
from coupons.partners.contract import NoAnswer, NotReached, Partner
from shop.concurrency import thread_budget
from shop.errors import Unavailable
from shop.outbound.circuit import Circuit

log = get_logger(__name__)
# In a row, for single calls are late now and then with nobody away.
FAILURES = 10
SECONDS_AWAY = 2
# Long enough for the next place that a partner who answers gives free, short for threads that others need.
PERMIT_WAIT_SECONDS = 0.25


class _CallFailed(Exception):
    """The partner was not there, or gave no answer: the cause says which."""


def is_unavailable(name: str) -> bool:
    """Whether the partner hasn't answered lately, or isn't configured: asking it now would be in vain."""
    return _circuit(name).is_open or named(name) is None


@contextmanager
def call_permit() -> Iterator[None]:
    """One of the places for threads that wait for a partner. Raises `Unavailable` when there is none soon."""
    # Held on to, for two threads that are the first to come each make places, and one of the two is kept.
    places = _permits()
    if not places.acquire(timeout=PERMIT_WAIT_SECONDS):
        raise Unavailable("The partner is slow, and too many wait for it; ask again.")
    try:
        yield
    finally:
        places.release()


@contextmanager
def partner_call(name: str) -> Iterator[Partner]:
    """The partner, to be asked one thing. Raises `NotReached` at once while it counts as away."""
    partner = named(name)
    if partner is None:
        raise NotReached(f"no partner {name} is configured")
    try:
        with _circuit(name).watched():
            try:
                yield partner
            except (NotReached, NoAnswer) as error:
                raise _CallFailed(str(error)) from error
    except _CallFailed as vain:
        log.warning("a partner gave no answer", partner=name, reason=str(vain.__cause__))
        assert vain.__cause__ is not None
        raise vain.__cause__ from None


def reset() -> None:
    """Think well of every partner again; for tests, whose partners come and go."""
    _circuit.cache_clear()
    _permits.cache_clear()


@lru_cache
def _circuit(name: str) -> Circuit:
    return Circuit(
        f"partner {name}",
        failures=FAILURES,
        seconds=SECONDS_AWAY,
        counted=_CallFailed,
        away=lambda: NotReached("the partner is away; it is asked again soon"),
    )


@lru_cache
def _permits() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(max(1, thread_budget.split_threads(settings.WEB_THREADS).calling // 2))
