"""Access and refresh tokens of accounts; the only module that knows simplejwt, whose blacklist it keeps.

An access token tells all that a call needs, so it is verified without the database. A refresh token is
good for one use: using it up inserts its line in the blacklist, and the unique key there decides which use
was first. All refresh tokens that follow from one sign-in are a family. A token that is used again after its
successor was given out may be stolen, so the family ends: its id is put on the blacklist as well.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from prometheus_client import Counter
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from shop import clock
from shop.accounts import accounts, token_signatures
from shop.accounts.token_signatures import TokenInvalid
from shop.db import transactions
from shop.events import journal
from shop.events.journal import Actor, ActorContext
from shop.models import JournalLine
from shop.rates import rate_limits

ACCESS_LIFETIME = timedelta(minutes=15)
REFRESH_LIFETIME = timedelta(days=14)
# A client that lost the answer repeats at once, and two tabs of a browser refresh in the same moment: that is
# refused, and yet no sign of a thief.
REUSE_GRACE = timedelta(seconds=10)
SWEEP_BATCH = 1_000
ACCOUNT_CLAIM, STAFF_CLAIM, FAMILY_CLAIM, PASSWORD_CLAIM = "user_id", "staff", "family", "credential"
REUSED_TOKENS = Counter(
    "firstcome_refresh_tokens_reused",
    "Used refresh tokens that came again later, which ended all tokens of their sign-in.",
)


@dataclass(frozen=True, slots=True)
class Account:
    """The caller, as the access token tells it. `is_staff` is a hint: `shop.http.permissions` decides."""

    id: int
    is_staff: bool
    is_active: bool = True

    @property
    def pk(self) -> int:
        return self.id

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def is_anonymous(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What signing in gives."""

    access: str
    refresh: str


def create_access_token(user: User, *, lifetime: timedelta = ACCESS_LIFETIME) -> str:
    """An access token of the account, good for `lifetime`."""
    return token_signatures.sign(_new_claims("access", user, lifetime) | {STAFF_CLAIM: user.is_staff})


def create_token_pair(user: User, *, family: str | None = None) -> TokenPair:
    """A fresh access and refresh token, of a new family unless one is given.

    Writes nothing: only used refresh tokens are kept.
    """
    own = {FAMILY_CLAIM: family or uuid4().hex, PASSWORD_CLAIM: _password_fingerprint(user)}
    refresh = token_signatures.sign(_new_claims("refresh", user, REFRESH_LIFETIME) | own)
    return TokenPair(access=create_access_token(user), refresh=refresh)


def verify_access_token(raw: str) -> Account:
    """The account an access token speaks for, without a query. Raises `TokenInvalid`."""
    claims = _verified_claims("access", raw)
    return Account(id=_account_id(claims), is_staff=claims.get(STAFF_CLAIM) is True)


def rotate(raw: str) -> TokenPair:
    """Use a refresh token up and give the next pair.

    Of any number of uses, at once or later, one succeeds; one that comes later than `REUSE_GRACE` ends the
    family. Raises `TokenInvalid`, also for an account that is disabled or gone, that is another one under the
    same number, or whose password has changed since, and for a family that has ended.
    Raises `Throttled`, and then the token is as good as before.
    """
    claims = _verified_claims("refresh", raw)
    rate_limits.REFRESHES.count(_account_id(claims))

    def rotated() -> TokenPair | None:
        user = User.objects.filter(pk=_account_id(claims), is_active=True).first()
        if user is None or not _is_still_valid(claims, user):
            return None
        if _mark_used(claims):
            return create_token_pair(user, family=_family_id(claims))
        _revoke_family_if_stolen(claims)
        return None

    pair = transactions.run(rotated, transactions.ONCE)
    if pair is None:
        raise TokenInvalid
    return pair


def revoke(raw: str, *, account_id: int) -> None:
    """Refuse the account's refresh token and those of its family from now on; again is the same.

    Raises `TokenInvalid` for what is no refresh token of this account.
    """
    claims = _verified_claims("refresh", raw)
    if _account_id(claims) != account_id:
        raise TokenInvalid

    def revoked() -> None:
        _mark_used(claims)
        _revoke_family(claims)

    transactions.run(revoked, transactions.REPEATABLE)


def delete_expired_tokens() -> int:
    """Forget used refresh tokens that have expired, in small bites. Returns how many went."""
    gone = 0
    while True:
        expired = OutstandingToken.objects.filter(expires_at__lte=clock.now())
        some = list(expired.values_list("pk", flat=True)[:SWEEP_BATCH])
        if not some:
            return gone
        OutstandingToken.objects.filter(pk__in=some).delete()
        gone += len(some)


def _new_claims(kind: str, user: User, lifetime: timedelta) -> dict[str, Any]:
    """What every token claims; dated by the clock of all processes."""
    issued_at = clock.now()
    return {
        "token_type": kind,
        "exp": int((issued_at + lifetime).timestamp()),
        "iat": int(issued_at.timestamp()),
        "jti": uuid4().hex,
        ACCOUNT_CLAIM: str(user.pk),
    }


def _verified_claims(kind: str, raw: str) -> dict[str, Any]:
    """What a token of this kind claims. Raises `TokenInvalid`."""
    claims = token_signatures.verified_claims(raw)
    if claims.get("token_type") != kind or not isinstance(claims.get("jti"), str):
        raise TokenInvalid
    return claims


def _account_id(claims: Mapping[str, Any]) -> int:
    try:
        return int(claims[ACCOUNT_CLAIM])
    except (KeyError, TypeError, ValueError):
        raise TokenInvalid from None


def _password_fingerprint(user: User) -> str:
    """A fingerprint of the account's password as it is kept.

    Its salt is random, so no two accounts share one, not even two that got the same number, as may happen
    when a replica is promoted that lacks the last commits; and each new password has a new one.
    """
    return hashlib.sha256(f"{user.pk}:{user.password}".encode()).hexdigest()[:32]


def _family_id(claims: Mapping[str, Any]) -> str:
    """The token's family. Tokens of the release before this one name none: each begins one of its own."""
    family: str = (
        claims.get(FAMILY_CLAIM) or hashlib.sha256(f"family of {claims['jti']}".encode()).hexdigest()[:32]
    )
    return family


def _is_still_valid(claims: Mapping[str, Any], user: User) -> bool:
    """Whether the token is of this account with this password, and its family has not ended.

    Tokens of the release before this one have neither claim, so the journal says whether the password has
    changed since; the last of them expires `REFRESH_LIFETIME` after it.
    """
    if BlacklistedToken.objects.filter(token__jti=_family_id(claims)).exists():
        return False
    if PASSWORD_CLAIM in claims:
        return bool(claims[PASSWORD_CLAIM] == _password_fingerprint(user))
    issued_at = datetime.fromtimestamp(claims["iat"], UTC)
    changes = JournalLine.objects.filter(
        subject=accounts.journal_subject(user.pk), what="account.password_changed"
    )
    return not changes.filter(at__gte=issued_at).exists()


def _mark_used(claims: Mapping[str, Any]) -> bool:
    """Whether this call was the one that used it up."""
    return _blacklist(claims["jti"], expires_at=datetime.fromtimestamp(claims["exp"], UTC))


def _revoke_family_if_stolen(claims: Mapping[str, Any]) -> None:
    """End the family of a token that was used up a while ago, and note it: it may have been stolen."""
    used_at = OutstandingToken.objects.values_list("created_at", flat=True).get(jti=claims["jti"])
    if used_at is None or clock.now() - used_at <= REUSE_GRACE:
        return
    if _revoke_family(claims):
        REUSED_TOKENS.inc()
        journal.note(
            what="account.refresh_token_reused",
            subject=accounts.journal_subject(_account_id(claims)),
            after={"used_at": used_at.isoformat()},
            detail="A used refresh token came again: it may be stolen, so its sign-in has ended.",
            is_internal=True,
            by=ActorContext(Actor.ANON, request_id=journal.current_actor().request_id),
        )


def _revoke_family(claims: Mapping[str, Any]) -> bool:
    """Whether this call was the one that ended it."""
    return _blacklist(_family_id(claims), expires_at=clock.now() + REFRESH_LIFETIME)


def _blacklist(id: str, *, expires_at: datetime) -> bool:
    """Refuse the token or family of this id until it would expire. Whether this call was the first."""
    times = {"created_at": clock.now(), "expires_at": expires_at}
    token, _ = OutstandingToken.objects.get_or_create(jti=id, defaults=times)
    _, is_first = BlacklistedToken.objects.get_or_create(token=token)
    return is_first
