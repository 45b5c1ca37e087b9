"""Which accounts are disabled, known to each process: so that a token dies within seconds.

Access tokens are verified without a query; what they can't tell is that the account was disabled since.
Each process keeps the set of disabled accounts, and the first request past its age reads it anew.
"""

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import DatabaseError
from structlog import get_logger

from shop.concurrency.group_commit import Batcher
from shop.concurrency.thread_pool import ThreadPool
from shop.db import transactions
from shop.db.transactions import DatabaseAway

log = get_logger(__name__)
REREAD_SECONDS = 2.0
# Past this nobody is let in on what is known: tokens must die within 5 s, a slow read included.
OLDEST_SECONDS = 4.0
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Known:
    ids: frozenset[int]
    read_at: float

    def age(self) -> float:
        return time.monotonic() - self.read_at


NOTHING = _Known(frozenset(), float("-inf"))
_known = NOTHING
# Whether the last read failed: an outage is logged when it begins and when it ends, not once a request.
_is_failing = False
_mutex = threading.Lock()


def is_disabled(account_id: int) -> bool:
    """Whether the account was disabled, as of at most four seconds ago.

    Raises `DatabaseAway` when that can't be told.
    """
    refresh()
    return is_known_as_disabled(account_id)


def is_known_as_disabled(account_id: int) -> bool:
    """The same without a query, for an event loop: where `is_refresh_due`, ask the `REFRESHER` first."""
    return account_id in _young_enough(_known).ids


def is_refresh_due() -> bool:
    """Whether this request should refresh what is known; one at a time, unless it is too old to go by."""
    age = _known.age()
    return age >= OLDEST_SECONDS or (age >= REREAD_SECONDS and not REFRESHER.is_busy())


def refresh() -> None:
    """Read the set anew, if it is due. Raises `DatabaseAway` when that fails and the last one is too old."""
    known = _known
    if known.age() >= REREAD_SECONDS:
        _reread(known)


def _refresh_for(requests: Sequence[None]) -> Sequence[None]:
    refresh()
    return requests


# In a thread of its own: calls whose views or batches are slow must not hold up all others at their sign-in.
REFRESHER: Batcher[None, None] = Batcher(
    _refresh_for,
    run=transactions.as_it_is,
    max_batch=sys.maxsize,
    wait_seconds=OLDEST_SECONDS,
    leaders=ThreadPool("disabled-accounts", threads=1, max_waiting=sys.maxsize),
)
"""Requests that need a refresh at once share it. Raises what `refresh` and `Batcher.submit` raise."""


def forget() -> None:
    """Read anew at the next call."""
    global _known
    _known = NOTHING


def _reread(known: _Known) -> _Known:
    """What the database says. One thread reads; the others use what is known while it is young enough."""
    must_wait = known.age() >= OLDEST_SECONDS
    if not _mutex.acquire(timeout=PATIENCE_SECONDS if must_wait else 0):
        return _young_enough(_known)
    try:
        if _known.age() < REREAD_SECONDS:
            return _known
        return _read()
    except DatabaseError as error:
        _note_failure(error)
        return _young_enough(_known)
    finally:
        _mutex.release()


def _read() -> _Known:
    """With the mutex held."""
    global _known, _is_failing
    started_at = time.monotonic()
    disabled = User.objects.filter(is_active=False).values_list("pk", flat=True)
    _known = _Known(frozenset(disabled), started_at)
    if _is_failing:
        log.info("disabled accounts are read again")
    _is_failing = False
    return _known


def _note_failure(error: DatabaseError) -> None:
    """With the mutex held."""
    global _is_failing
    if not _is_failing:
        log.warning("disabled accounts not read", error=str(error)[:200])
    _is_failing = True


def _young_enough(known: _Known) -> _Known:
    if known.age() >= OLDEST_SECONDS:
        raise DatabaseAway("The database can't be reached; nothing was done.")
    return known
