"""What a process remembers of API keys, and of the accounts they act for, so that their calls need no query.

All usable secrets are remembered, for a second at most: those of keys that are not revoked, whose makers are
active staff. So a key that was revoked, or whose maker was disabled, is refused by every process within a
second. No account is ever deleted, so which exist is remembered for longer.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from django.contrib.auth.models import User
from django.db import DatabaseError
from django.db.models import Exists, OuterRef, Q
from structlog import get_logger

from accounts.api_keys.keys import ACT_FOR_ACCOUNTS, START, hash_of
from accounts.models import ApiKey, ApiKeySecret
from accounts.tokens import disabled_accounts
from foundation import clock
from foundation.account import TokenInvalid
from foundation.concurrency import event_loop
from foundation.concurrency.batching import Batcher
from foundation.concurrency.shared_read import SharedRead
from foundation.db import transactions

log = get_logger(__name__)
REFRESH_AFTER_SECONDS = 0.5
MAX_AGE_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS = 0.1
"""Between two readings for requests whose key is not known: anyone may send one."""
LAST_USE_SECONDS = 60.0
"""How often a process writes the last use of a key at most."""
MOST_ACCOUNTS = 100_000
BACKEND = "django.contrib.auth.backends.ModelBackend"
_existing_accounts: set[int] = set()
# By the monotonic clock, when this process wrote the last use of each key.
_written_at: dict[int, float] = {}


class KnownKey(NamedTuple):
    """A usable key, by one of its secrets. `may_act`: its maker has the right to the scope `act`."""

    id: int
    maker_id: int
    scopes: list[str]
    expires_at: datetime | None
    secret_valid_until: datetime | None
    may_act: bool


def secret_in(authorization: str) -> str | None:
    """The secret in an `Authorization` header; None if it has an access token, or another scheme."""
    if START not in authorization:
        return None
    scheme, _, secret = authorization.strip().partition(" ")
    secret = secret.strip()
    return secret if scheme.lower() == "bearer" and secret.startswith(START) else None


def verify(secret: str) -> KnownKey:
    """The key of this secret, without a query, as of at most a second ago.

    Raises `TokenInvalid` for an unknown, revoked or expired key, or one whose maker is not active staff any
    more, and `DatabaseUnavailable` if the keys can't be read. Refresh `CACHED` first if it is due, and call
    `read_newer` before a second try, for the secret may be younger than what is remembered.
    """
    # Found by a hash of 256 random bits, so the time that this takes helps no guess.
    key = CACHED.recent().get(hash_of(secret))
    now = clock.now()
    if key is None or any(end and end <= now for end in (key.expires_at, key.secret_valid_until)):
        raise TokenInvalid
    return key


def _read_keys() -> Mapping[str, KnownKey]:
    """All usable keys by the hashes of their secrets, by one statement."""
    rows = ApiKeySecret.objects.filter(
        Q(valid_until=None) | Q(valid_until__gt=clock.now()),
        key__revoked_at=None,
        key__maker__is_active=True,
        key__maker__is_staff=True,
    ).values_list(
        "secret_hash",
        "key_id",
        "key__maker_id",
        "key__scopes",
        "key__expires_at",
        "valid_until",
        Exists(User.objects.with_perm(ACT_FOR_ACCOUNTS, backend=BACKEND).filter(pk=OuterRef("key__maker"))),
    )
    return {hash: KnownKey(*key) for hash, *key in rows}


CACHED = SharedRead(
    _read_keys, name="API keys", seconds=REFRESH_AFTER_SECONDS, max_age_seconds=MAX_AGE_SECONDS
)


def read_newer(asked_at: float) -> None:
    """Read the keys again, unless they were read since this instant of the monotonic clock."""
    CACHED.read_newer(than=asked_at, pause_seconds=SHORTEST_PAUSE_SECONDS)


async def is_usable_account(account_id: int) -> bool:
    """Whether the account exists and is not disabled, as of at most four seconds ago.

    Costs a query when this process sees the account for the first time. The disabled accounts must have been
    refreshed. Raises `DatabaseUnavailable`, and what `Batcher.submit` raises.
    """
    if account_id not in _existing_accounts:
        if not await event_loop.submit_to_batcher(_lookups, account_id):
            return False
        if len(_existing_accounts) >= MOST_ACCOUNTS:
            _existing_accounts.clear()
        _existing_accounts.add(account_id)
    return account_id not in disabled_accounts.CACHED.recent().ids


def _find_existing(account_ids: Sequence[int]) -> Sequence[bool]:
    found = set(User.objects.filter(pk__in=account_ids).values_list("pk", flat=True))
    return [account_id in found for account_id in account_ids]


_lookups: Batcher[int, bool] = Batcher(_find_existing, name="acted_accounts", run=transactions.read)


def note_use(key_id: int) -> None:
    """Note that the key is used now, without waiting: another thread writes the row, if that is due."""
    now = time.monotonic()
    if now - _written_at.get(key_id, float("-inf")) < LAST_USE_SECONDS:
        return
    # Set before the write: calls meanwhile would start more of them.
    _written_at[key_id] = now
    event_loop.run_in_background(partial(_write_last_use, key_id, clock.now()))


def _write_last_use(key_id: int, at: datetime) -> None:
    """Write it, unless another process has written a later use; a failure costs this minute's use alone."""
    earlier = Q(last_used_at=None) | Q(last_used_at__lt=at)
    try:
        ApiKey.objects.filter(earlier, pk=key_id).update(last_used_at=at)
    except DatabaseError as error:
        log.warning("last use of an API key not written", api_key=key_id, error=error)
