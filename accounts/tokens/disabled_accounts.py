"""Disabled and signed-out accounts, cached in each process, so that their tokens stop working within seconds:
access tokens are verified without a query.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from django.contrib.auth.models import User

from accounts.models import SignOut
from accounts.tokens import sign_outs
from foundation import clock
from foundation.concurrency.event_loop import run_in_thread
from foundation.concurrency.shared_read import SharedRead
from foundation.concurrency.thread_pool import ACCOUNTS_POOL
from foundation.errors import Unavailable

REFRESH_AFTER_SECONDS = 2.0
# An older set is not used: tokens must stop working within 5 s, a slow read included.
MAX_AGE_SECONDS = 4.0
# Longer than any access token is valid: those of demos and loads are for a day. Older sign-outs concern none.
SIGN_OUTS_READ = timedelta(days=2)


class DisabledAccounts(NamedTuple):
    """`signed_out` has the number of each account's sign-out, which refuses the tokens of before, and the
    family that it kept.
    """

    ids: frozenset[int]
    signed_out: Mapping[int, tuple[int, str]]


def is_token_refused(account_id: int, *, issued_after: int | None, family: str = "") -> bool:
    """Whether the account is disabled, or was signed out since the token was issued, but for this family, as
    of at most four seconds ago.

    Without a query, for an event loop. Call `refresh` first if `CACHED` is due. Raises `DatabaseUnavailable`
    if what is known is older.
    """
    known = CACHED.recent()
    if account_id in known.ids:
        return True
    if account_id not in known.signed_out:
        return False
    number, kept = known.signed_out[account_id]
    is_kept = bool(kept) and kept == family
    return not is_kept and sign_outs.refuses(number, issued_after=issued_after)


def _read_disabled_accounts() -> DisabledAccounts:
    disabled = User.objects.filter(is_active=False).values_list("pk", flat=True)
    recent = SignOut.objects.filter(at__gte=clock.now() - SIGN_OUTS_READ)
    signed_out = {
        done.account_id: (sign_outs.number_of(done.at), sign_outs.kept_family(done)) for done in recent
    }
    return DisabledAccounts(frozenset(disabled), signed_out)


CACHED = SharedRead(
    _read_disabled_accounts,
    name="disabled accounts",
    seconds=REFRESH_AFTER_SECONDS,
    max_age_seconds=MAX_AGE_SECONDS,
)


async def refresh(shared: SharedRead[Any] = CACHED) -> None:
    """Have a thread read the set again, or what another shared read has.

    If that fails, what was read before is used while it is recent enough.
    """
    with suppress(Unavailable):
        await shared.get_on_loop(partial(run_in_thread, pool=ACCOUNTS_POOL))
