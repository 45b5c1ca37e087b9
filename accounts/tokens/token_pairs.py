"""Access and refresh tokens of accounts.

A refresh token is valid for one use: using it inserts a `RevokedToken`, whose key decides which of several
uses was first. Those that descend from one sign-in are a family, which is revoked when one is used again
after its successor was issued: it may be stolen.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

from django.contrib.auth.models import User
from prometheus_client import Counter

from accounts import accounts
from accounts.models import RevokedToken
from accounts.signing_in import second_factor
from accounts.tokens import authentication, sign_outs
from accounts.tokens.authentication import FAMILY_CLAIM, Claims
from foundation import clock, journal
from foundation.account import TokenInvalid
from foundation.db import key_walks, transactions
from foundation.db.rows import present
from foundation.rates import rate_limits

ACCESS_LIFETIME = timedelta(minutes=15)
REFRESH_LIFETIME = timedelta(days=14)
# A client that lost the response retries at once, and two tabs of a browser refresh at the same moment. Such
# a reuse is refused, but is no sign of theft.
REUSE_GRACE = timedelta(seconds=10)
PASSWORD_CLAIM = "credential"  # noqa: S105 - its name
REUSED_TOKENS = Counter(
    "firstcome_refresh_tokens_reused",
    "Used refresh tokens that were used again, which revoked all tokens of their sign-in.",
)


class TokenPair(NamedTuple):
    """The result of a sign-in."""

    access: str
    refresh: str


def create_access_token(
    user: User,
    *,
    lifetime: timedelta = ACCESS_LIFETIME,
    issued_after: int | None = None,
    family: str | None = None,
) -> str:
    """Return an access token of the account, valid for `lifetime`.

    `issued_after` is the number of the account's last sign-out; an account that was signed out needs it.
    """
    own = present(**{authentication.SIGN_OUT_CLAIM: issued_after, FAMILY_CLAIM: family})
    own[authentication.STAFF_CLAIM] = user.is_staff
    return authentication.sign(_new_claims("access", user, lifetime) | own)


def create_token_pair(user: User, *, family: str | None = None, device_id: int | None = None) -> TokenPair:
    """Return a new access and refresh token, of a new family unless `family` is given. Writes nothing.

    `device_id` is the one that verified the one-time code of the sign-in, if the account needed one.
    """
    family = family or second_factor.family_prefix(device_id) + uuid4().hex
    issued_after = sign_outs.last_sign_out_number(user.pk)
    own = {
        FAMILY_CLAIM: family,
        PASSWORD_CLAIM: password_fingerprint(user),
        authentication.SIGN_OUT_CLAIM: issued_after,
    }
    refresh = authentication.sign(_new_claims("refresh", user, REFRESH_LIFETIME) | own)
    return TokenPair(
        access=create_access_token(user, issued_after=issued_after, family=family), refresh=refresh
    )


def rotate(raw: str) -> TokenPair:
    """Use a refresh token and return the next pair.

    Of any number of uses, concurrent or later, one succeeds; a reuse later than `REUSE_GRACE` revokes the
    family. Raises `TokenInvalid`, also if the account is disabled, deleted, or another account with the same
    id, if its password has changed since, if it was signed out everywhere since, if the family is revoked, or
    if the account needs one-time codes and the family began without one, or before they were reset. Raises
    `Throttled`, and then the token stays valid.
    """
    claims = _verified_claims(raw)
    rate_limits.REFRESHES.count(authentication.account_id_of(claims))

    def rotated() -> TokenPair | None:
        # Locked, so that signing the account out everywhere comes before this or after it.
        account_row = User.objects.select_for_update().filter(pk=authentication.account_id_of(claims))
        user = account_row.filter(is_active=True).first()
        if user is None or not _is_still_valid(claims, user):
            return None
        if _mark_used(claims):
            return create_token_pair(user, family=claims[FAMILY_CLAIM])
        _revoke_family_if_stolen(claims)
        return None

    pair = transactions.run(rotated, transactions.ONCE)
    if pair is None:
        raise TokenInvalid
    return pair


def revoke(raw: str, *, account_id: int) -> None:
    """Revoke the account's refresh token and those of its family; repeating it has no further effect. Raises
    `TokenInvalid` if it is not a refresh token of this account.
    """
    claims = _verified_claims(raw)
    if authentication.account_id_of(claims) != account_id:
        raise TokenInvalid

    def revoked() -> None:
        _mark_used(claims)
        _revoke_family(claims)

    transactions.run(revoked, transactions.REPEATABLE)


def delete_expired_tokens() -> int:
    """Delete used refresh tokens that have expired, in small batches. Returns how many were deleted."""
    return key_walks.delete(RevokedToken.objects.filter(expires_at__lte=clock.now()))


def _new_claims(kind: str, user: User, lifetime: timedelta) -> Claims:
    """The claims of every token, with times from the clock that all processes share."""
    issued_at = clock.now()
    return {
        "token_type": kind,
        "exp": int((issued_at + lifetime).timestamp()),
        "iat": int(issued_at.timestamp()),
        "jti": uuid4().hex,
        authentication.ACCOUNT_CLAIM: str(user.pk),
    }


def password_fingerprint(user: User) -> str:
    """A fingerprint of the account's stored password hash.

    The hash has a random salt, so no two accounts share a fingerprint, not even two with the same id (a
    promoted replica that lacks the last commits may assign an id again), and each new password has a new one.
    """
    return hashlib.sha256(f"{user.pk}:{user.password}".encode()).hexdigest()[:32]


def _verified_claims(raw: str) -> Claims:
    """The claims of a refresh token. Raises `TokenInvalid`, also for one without the claims of ours."""
    claims = authentication.verified_claims_of("refresh", raw)
    if not claims.keys() >= {FAMILY_CLAIM, PASSWORD_CLAIM}:
        raise TokenInvalid
    return claims


def _is_still_valid(claims: Claims, user: User) -> bool:
    """Whether the token belongs to this account with its current password, and is not revoked.

    It is revoked by itself, with its family, or with all tokens that the account had when it was signed out.
    """
    if RevokedToken.objects.filter(id=claims[FAMILY_CLAIM]).exists():
        return False
    family = claims[FAMILY_CLAIM]
    password = password_fingerprint(user)
    done = sign_outs.last_sign_out(user.pk)
    is_kept = done is not None and done.kept == sign_outs.mark_of(done.at, family, password)
    number = sign_outs.number_of(done.at) if done else 0
    is_signed_out = sign_outs.refuses(number, issued_after=claims.get(authentication.SIGN_OUT_CLAIM))
    has_password = claims[PASSWORD_CLAIM] == password
    is_good = is_kept or (has_password and not is_signed_out)
    return is_good and second_factor.is_verified(
        user, lambda device_id: family.startswith(second_factor.family_prefix(device_id))
    )


def _mark_used(claims: Claims) -> bool:
    """Mark the token as used. Returns whether this call was the first to do so."""
    return _revoke_id(claims["jti"], expires_at=datetime.fromtimestamp(claims["exp"], UTC))


def _revoke_family_if_stolen(claims: Claims) -> None:
    """Revoke the family of a token that was used a while ago, and record it: the token may be stolen."""
    used_at = RevokedToken.objects.values_list("revoked_at", flat=True).get(id=claims["jti"])
    if clock.now() - used_at <= REUSE_GRACE:
        return
    if _revoke_family(claims):
        REUSED_TOKENS.inc()
        journal.note(
            what="account.refresh_token_reused",
            subject=accounts.journal_subject(authentication.account_id_of(claims)),
            after={"used_at": used_at.isoformat()},
            detail="A used refresh token was used again: it may be stolen, so its family is revoked.",
            is_internal=True,
            by=journal.ActorContext(journal.Actor.ANON, request_id=journal.current_actor().request_id),
        )


def _revoke_family(claims: Claims) -> bool:
    """Revoke the family. Returns whether this call was the first to do so."""
    return _revoke_id(claims[FAMILY_CLAIM], expires_at=clock.now() + REFRESH_LIFETIME)


def _revoke_id(id: str, *, expires_at: datetime) -> bool:
    """Refuse the token or family with this id until it expires. Returns whether this call was the first."""
    times = {"revoked_at": clock.now(), "expires_at": expires_at}
    return RevokedToken.objects.get_or_create(id=id, defaults=times)[1]
