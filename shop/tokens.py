"""Access and refresh tokens: JSON Web Tokens behind one module, the only one that knows simplejwt.

An access token tells all that a call needs, so it is verified without the database. A refresh token is
good for one use: using it up inserts its line in the blacklist, and the unique key there decides who was
first.
"""

import hmac
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from django.conf import settings
from django.contrib.auth.models import User
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token

from shop import clock, transactions
from shop.errors import NotAuthenticated

SWEEP_BATCH = 1_000
ACCOUNT, STAFF = "user_id", "staff"
# {"alg":"HS256","typ":"JWT"}, as simplejwt writes it.
HEADER = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"


class TokenInvalid(NotAuthenticated):
    """The token is forged, expired, used up, of the wrong kind, or its account is disabled."""

    code = "token_invalid"
    title = "Token not valid"

    def __init__(self) -> None:
        super().__init__("The token is not valid, or not any more; sign in again.")


@dataclass(frozen=True, slots=True)
class Account:
    """The caller, as the access token tells it. `is_staff` is a hint: `shop.permissions` decides."""

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
class Pair:
    """What signing in gives."""

    access: str
    refresh: str


class _Refresh(RefreshToken):
    """Verified without a look at the blacklist: `_use_up` asks it, and exactly."""

    def check_blacklist(self) -> None:
        """Leave the answer to the insert: a look now could be outdated by then."""


def access_for(user: User, *, lifetime: timedelta | None = None) -> str:
    """An access token of the account, good for `lifetime` (15 minutes)."""
    token = AccessToken()
    token[ACCOUNT] = str(user.pk)
    token[STAFF] = user.is_staff
    _set_times(token, lifetime)
    return str(token)


def pair_for(user: User) -> Pair:
    """A fresh access and refresh token. Writes nothing: only used refresh tokens are kept."""
    refresh = _Refresh()
    refresh[ACCOUNT] = str(user.pk)
    _set_times(refresh)
    return Pair(access=access_for(user), refresh=str(refresh))


def _set_times(token: Token, lifetime: timedelta | None = None) -> None:
    """By the clock of all processes; simplejwt goes by the host's."""
    issued_at = clock.now()
    token.set_iat(at_time=issued_at)
    token.set_exp(from_time=issued_at, lifetime=lifetime)


def read_access(raw: str) -> Account:
    """The account an access token speaks for, without a query. Raises `TokenInvalid`."""
    claims = signed_claims(raw)
    is_access = claims.get("token_type") == "access" and "jti" in claims
    if not is_access or not _is_good_now(claims.get("exp")):
        raise TokenInvalid
    return Account(id=_account_id(claims), is_staff=claims.get(STAFF) is True)


def signed_claims(raw: str) -> dict[str, Any]:
    """What the token claims, once its signature is found to be ours. Raises `TokenInvalid`.

    Every call needs this, and PyJWT takes ten times as long for it. We sign all our tokens in the same way,
    so the header is compared rather than believed; what it says of algorithms is never looked at.
    """
    signed, _, signature = raw.rpartition(".")
    header, _, payload = signed.partition(".")
    if header != HEADER:
        raise TokenInvalid
    try:
        expected = hmac.digest(_signing_key(), signed.encode("ascii"), "sha256")
        if not hmac.compare_digest(expected, _decoded(signature)):
            raise TokenInvalid
        claims = orjson.loads(_decoded(payload))
    except ValueError:
        raise TokenInvalid from None
    if not isinstance(claims, dict):
        raise TokenInvalid
    return claims


def _decoded(segment: str) -> bytes:
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _signing_key() -> bytes:
    key: str = settings.SIMPLE_JWT["SIGNING_KEY"]
    return key.encode()


def _is_good_now(expires_at: Any) -> bool:
    return isinstance(expires_at, int | float) and clock.now().timestamp() < expires_at


def rotate(raw: str) -> Pair:
    """Use a refresh token up and give the next pair.

    Of any number of uses, at once or later, one succeeds. Raises `TokenInvalid`, also for an account
    that is disabled or gone.
    """
    token = _verified(raw)

    def rotated() -> Pair:
        user = User.objects.filter(pk=_account_id(token), is_active=True).first()
        if user is None or not _use_up(token):
            raise TokenInvalid
        return pair_for(user)

    return transactions.run(rotated, transactions.ONCE)


def revoke(raw: str, *, account_id: int) -> None:
    """Refuse the account's refresh token from now on; again is the same.

    Raises `TokenInvalid` for what is no refresh token of this account.
    """
    token = _verified(raw)
    if _account_id(token) != account_id:
        raise TokenInvalid
    transactions.run(lambda: _use_up(token), transactions.REPEATABLE)


def sweep() -> int:
    """Forget used refresh tokens that have expired, in small bites. Returns how many went."""
    gone = 0
    while True:
        expired = OutstandingToken.objects.filter(expires_at__lte=clock.now())
        some = list(expired.values_list("pk", flat=True)[:SWEEP_BATCH])
        if not some:
            return gone
        OutstandingToken.objects.filter(pk__in=some).delete()
        gone += len(some)


def _verified(raw: str) -> _Refresh:
    """The refresh token, once its signature is found to be ours and it has not expired by the clock."""
    signed_claims(raw)
    try:
        # With `verify=True` simplejwt compares with the host's clock.
        token = _Refresh(raw, verify=False)  # type: ignore[arg-type]
        token.current_time = clock.now()
        token.verify()
    except TokenError:
        raise TokenInvalid from None
    return token


def _account_id(token: Any) -> int:
    try:
        return int(token[ACCOUNT])
    except (KeyError, TypeError, ValueError):
        raise TokenInvalid from None


def _use_up(token: _Refresh) -> bool:
    """Whether this call was the one that used it up."""
    # simplejwt's annotation says that it gives the row; it gives what get_or_create does.
    answered: Any = token.blacklist()
    return bool(answered[1])
