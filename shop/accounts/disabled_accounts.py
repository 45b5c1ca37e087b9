"""Disabled and signed-out accounts, cached in each process, so that their tokens stop working within seconds.

Access tokens are verified without a query, so they cannot show that the account was disabled, or signed out
everywhere, later. Each process caches the disabled accounts and the recent sign-outs; the first request after
they expire reads them again.
"""

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import DatabaseError
from structlog import get_logger

from shop import clock
from shop.accounts import sign_outs
from shop.concurrency.group_commit import Batcher, run_without_transaction
from shop.concurrency.thread_pool import ThreadPool
from shop.db.transactions import DatabaseUnavailable
from shop.lazy_texts import mark as _
from shop.models import SignOut

log = get_logger(__name__)
REFRESH_AFTER_SECONDS = 2.0
# An older set is not used: tokens must stop working within 5 s, a slow read included.
MAX_AGE_SECONDS = 4.0
MUTEX_WAIT_SECONDS = 2.0
# Longer than any access token is valid: those of demos and loads are for a day. Older sign-outs concern none.
SIGN_OUTS_READ = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class _DisabledAccounts:
    """`signed_out` has the number of each account's sign-out, which refuses the tokens of before."""

    ids: frozenset[int]
    read_at: float
    signed_out: Mapping[int, int] = field(default_factory=dict)

    def age(self) -> float:
        return time.monotonic() - self.read_at


NEVER_READ = _DisabledAccounts(frozenset(), float("-inf"))
_cached = NEVER_READ
# Whether the last read failed: an outage is logged when it begins and when it ends, not once per request.
_is_failing = False
_mutex = threading.Lock()


def is_disabled(account_id: int) -> bool:
    """Whether the account is disabled, as of at most four seconds ago.

    Raises `DatabaseUnavailable` if the set is older and cannot be read.
    """
    refresh()
    return account_id in _require_recent(_cached).ids


def is_token_refused(account_id: int, *, issued_after: int | None) -> bool:
    """Whether the account is disabled, or was signed out everywhere since the token was issued.

    Without a query, for an event loop. Submit to `REFRESHER` first if `is_refresh_due`. Raises
    `DatabaseUnavailable` as `is_disabled` does.
    """
    known = _require_recent(_cached)
    if account_id in known.ids:
        return True
    number = known.signed_out.get(account_id)
    return number is not None and sign_outs.refuses(number, issued_after=issued_after)


def is_refresh_due() -> bool:
    """Whether this request should refresh the set: one at a time, or every one if it is too old."""
    age = _cached.age()
    return age >= MAX_AGE_SECONDS or (age >= REFRESH_AFTER_SECONDS and not REFRESHER.is_busy())


def refresh() -> None:
    """Refresh the set if it is due. Raises `DatabaseUnavailable` if it can't be read and is too old."""
    known = _cached
    if known.age() >= REFRESH_AFTER_SECONDS:
        _refresh_cache(known)


def _refresh_for_batch(requests: Sequence[None]) -> Sequence[None]:
    refresh()
    return requests


# In a thread of its own: slow views or batches must not delay the authentication of every other call.
REFRESHER: Batcher[None, None] = Batcher(
    _refresh_for_batch,
    name="disabled_accounts",
    run=run_without_transaction,
    max_batch=sys.maxsize,
    wait_seconds=MAX_AGE_SECONDS,
    leader_pool=ThreadPool("disabled-accounts", threads=1, max_waiting=sys.maxsize),
)
"""Concurrent requests that need a refresh share it. Raises what `refresh` and `Batcher.submit` raise."""


def clear_cache() -> None:
    """Have the next call read the set again."""
    global _cached
    _cached = NEVER_READ


def _refresh_cache(known: _DisabledAccounts) -> _DisabledAccounts:
    """Read the set from the database. One thread reads; the others use the cached set meanwhile."""
    must_wait = known.age() >= MAX_AGE_SECONDS
    if not _mutex.acquire(timeout=MUTEX_WAIT_SECONDS if must_wait else 0):
        return _require_recent(_cached)
    try:
        if _cached.age() < REFRESH_AFTER_SECONDS:
            return _cached
        return _read_disabled_accounts()
    except DatabaseError as error:
        _log_first_failure(error)
        return _require_recent(_cached)
    finally:
        _mutex.release()


def _read_disabled_accounts() -> _DisabledAccounts:
    """With the mutex held."""
    global _cached, _is_failing
    started_at = time.monotonic()
    disabled = User.objects.filter(is_active=False).values_list("pk", flat=True)
    recent = SignOut.objects.filter(at__gte=clock.now() - SIGN_OUTS_READ).values_list("account_id", "at")
    signed_out = {account_id: sign_outs.number_of(at) for account_id, at in recent}
    _cached = _DisabledAccounts(frozenset(disabled), started_at, signed_out)
    if _is_failing:
        log.info("disabled accounts are read again")
    _is_failing = False
    return _cached


def _log_first_failure(error: DatabaseError) -> None:
    """With the mutex held."""
    global _is_failing
    if not _is_failing:
        log.warning("disabled accounts not read", error=str(error)[:200])
    _is_failing = True


def _require_recent(known: _DisabledAccounts) -> _DisabledAccounts:
    if known.age() >= MAX_AGE_SECONDS:
        raise DatabaseUnavailable(_("The database can't be reached; nothing was done."))
    return known
