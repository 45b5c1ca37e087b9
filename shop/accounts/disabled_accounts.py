"""Disabled and signed-out accounts, cached in each process, so that their tokens stop working within seconds.

Access tokens are verified without a query, so they cannot show that the account was disabled, or signed out
everywhere, later. Each process caches the disabled accounts and the recent sign-outs; the first request after
they expire reads them again.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from django.contrib.auth.models import User

from shop import clock
from shop.accounts import sign_outs
from shop.concurrency.remembered_rows import RememberedRows
from shop.concurrency.thread_pool import ThreadPool
from shop.models import SignOut

REFRESH_AFTER_SECONDS = 2.0
# An older set is not used: tokens must stop working within 5 s, a slow read included.
MAX_AGE_SECONDS = 4.0
# Longer than any access token is valid: those of demos and loads are for a day. Older sign-outs concern none.
SIGN_OUTS_READ = timedelta(days=2)
REFRESH_POOL = ThreadPool("disabled-accounts", threads=1, max_waiting=sys.maxsize)
"""A thread of its own: slow views or batches must not delay the authentication of every other call."""


@dataclass(frozen=True, slots=True)
class DisabledAccounts:
    """`signed_out` has the number of each account's sign-out, which refuses the tokens of before."""

    ids: frozenset[int]
    signed_out: Mapping[int, int] = field(default_factory=dict)


def is_disabled(account_id: int) -> bool:
    """Whether the account is disabled, as of at most four seconds ago.

    Raises `DatabaseUnavailable` if the set is older and cannot be read.
    """
    refresh()
    return is_known_as_disabled(account_id)


def is_known_as_disabled(account_id: int) -> bool:
    """The same without a query, for an event loop."""
    return account_id in CACHED.recent().ids


def is_token_refused(account_id: int, *, issued_after: int | None) -> bool:
    """Whether the account is disabled, or was signed out everywhere since the token was issued.

    Without a query, for an event loop. Submit to `REFRESHER` first if `is_refresh_due`. Raises
    `DatabaseUnavailable` as `is_disabled` does.
    """
    known = CACHED.recent()
    if account_id in known.ids:
        return True
    number = known.signed_out.get(account_id)
    return number is not None and sign_outs.refuses(number, issued_after=issued_after)


def _read_disabled_accounts() -> DisabledAccounts:
    disabled = User.objects.filter(is_active=False).values_list("pk", flat=True)
    recent = SignOut.objects.filter(at__gte=clock.now() - SIGN_OUTS_READ).values_list("account_id", "at")
    signed_out = {account_id: sign_outs.number_of(at) for account_id, at in recent}
    return DisabledAccounts(frozenset(disabled), signed_out)


CACHED: RememberedRows[DisabledAccounts] = RememberedRows(
    _read_disabled_accounts,
    name="disabled accounts",
    nothing=DisabledAccounts(frozenset()),
    refresh_after_seconds=REFRESH_AFTER_SECONDS,
    max_age_seconds=MAX_AGE_SECONDS,
    leader_pool=REFRESH_POOL,
)
REFRESHER = CACHED.refresher
is_refresh_due, refresh, clear_cache = CACHED.is_refresh_due, CACHED.refresh, CACHED.forget
