"""What a process remembers of the API keys, for a second at most, so that a call by a key needs no query.

All usable secrets are remembered: those of keys that are not revoked, whose makers are active staff. So a
key that was revoked, or whose maker was disabled, is refused by every process within a second.
"""

import hmac
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q

from shop import clock
from shop.accounts.authentication import TokenInvalid
from shop.api_keys.keys import ACT_FOR_ACCOUNTS, PREFIX_LENGTH, START, hash_of
from shop.concurrency.shared_read import SharedRead
from shop.models import ApiKeySecret

REFRESH_AFTER_SECONDS = 0.5
MAX_AGE_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS = 0.1
"""Between two readings for requests whose key is not known: anyone may send one."""
BACKEND = "django.contrib.auth.backends.ModelBackend"


@dataclass(frozen=True, slots=True)
class KnownSecret:
    """A hash, and until when it is good; None for the current one."""

    hash: str
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A usable key. `may_act` says that its maker has the right to have keys act for accounts."""

    id: int
    maker_id: int
    scopes: frozenset[str]
    expires_at: datetime | None
    may_act: bool
    secrets: tuple[KnownSecret, ...]


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
    key = CACHED.recent().get(secret[:PREFIX_LENGTH])
    now = clock.now()
    if key is None or (key.expires_at is not None and key.expires_at <= now):
        raise TokenInvalid
    hash = hash_of(secret)
    for known in key.secrets:
        is_equal = hmac.compare_digest(known.hash, hash)
        if is_equal and (known.valid_until is None or now < known.valid_until):
            return key
    raise TokenInvalid


def _read_keys() -> Mapping[str, KnownKey]:
    """All usable keys by their prefixes, by one statement."""
    may_act = User.objects.with_perm(ACT_FOR_ACCOUNTS, backend=BACKEND).filter(pk=OuterRef("key__maker"))
    rows = (
        ApiKeySecret.objects.filter(
            Q(valid_until=None) | Q(valid_until__gt=clock.now()),
            key__revoked_at=None,
            key__maker__is_active=True,
            key__maker__is_staff=True,
        )
        .annotate(may_act=Exists(may_act))
        .select_related("key")
    )
    by_key: dict[int, list[ApiKeySecret]] = defaultdict(list)
    for row in rows:
        by_key[row.key_id].append(row)
    return {found[0].key.prefix: _known_key(found) for found in by_key.values()}


def _known_key(rows: list[ApiKeySecret]) -> KnownKey:
    key = rows[0].key
    return KnownKey(
        id=key.pk,
        maker_id=key.maker_id,
        scopes=frozenset(key.scopes),
        expires_at=key.expires_at,
        may_act=bool(rows[0].may_act),  # type: ignore[attr-defined]
        secrets=tuple(KnownSecret(row.secret_hash, row.valid_until) for row in rows),
    )


CACHED = SharedRead(
    _read_keys, name="API keys", seconds=REFRESH_AFTER_SECONDS, max_age_seconds=MAX_AGE_SECONDS
)


def read_newer(asked_at: float) -> None:
    """Read the keys again, unless they were read since this instant of the monotonic clock."""
    CACHED.read_newer(than=asked_at, pause_seconds=SHORTEST_PAUSE_SECONDS)
