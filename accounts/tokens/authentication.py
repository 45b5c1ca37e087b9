"""Authentication of API calls: finds the account of an access token without a database query. Tokens of the
identity provider, if there is one, are left to `accounts.tokens`.

A token names its key by `kid` in the header, so that a new key can take over without ending sessions. Tokens
signed with `SECRET_KEY` have no `kid`.
"""

import hmac
from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from typing import Any

import jwt
import orjson
from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.tokens import disabled_accounts, external_accounts
from foundation import clock, journal
from foundation.account import Account, TokenInvalid
from foundation.concurrency import event_loop

ALGORITHM = "HS256"
ACCOUNT_CLAIM = "user_id"
STAFF_CLAIM = "staff"
SIGN_OUT_CLAIM = "after_sign_out"
FAMILY_CLAIM = "family"
URL_SAFE = bytes.maketrans(b"+/", b"-_")
Claims = dict[str, Any]
"""What a token says, by the names of RFC 7519 and ours."""
Keys = tuple[tuple[str, str], ...]


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer <access token>`; a request without it is anonymous."""

    def authenticate(self, request: Request) -> tuple[Account, None] | None:
        if not (authorization := request.META.get("HTTP_AUTHORIZATION", "")):
            return None
        disabled_accounts.CACHED.get()
        account = event_loop.run_blocking(find_account(authorization))
        return (account, None) if account else None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


async def find_account(authorization: str) -> Account | None:
    """Return the account of a bearer token; None for another authorization scheme. Of our own tokens without
    a query, of those of the identity provider mostly so. Raises `TokenInvalid`, and `DatabaseUnavailable` if
    the set of disabled accounts is too old to rely on; of the provider's what `external_accounts.find` does.
    """
    scheme, _, raw = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    account = await verify(raw.strip())
    if disabled_accounts.is_token_refused(
        account.id, issued_after=account.issued_after, family=account.family
    ):
        raise TokenInvalid
    journal.identify_actor(account_id=account.id, is_staff=account.is_staff)
    return account


async def verify(raw: str) -> Account:
    """Return the account of an access token, ours or the identity provider's, which may be disabled or signed
    out. Raises `TokenInvalid`, and of the provider's what `external_accounts.find` does.
    """
    # Those that `sign` writes are told by their header; the signature is not looked at yet.
    if settings.IDENTITY_ISSUER and raw.partition(".")[0] not in _keys_by_header(settings.TOKEN_SIGNING_KEYS):
        return await external_accounts.find(raw)
    return verify_access_token(raw)


def verify_access_token(raw: str) -> Account:
    """Return the account of an access token of ours, without a query. Raises `TokenInvalid`."""
    claims = verified_claims_of("access", raw)
    return Account(
        account_id_of(claims),
        is_staff=claims.get(STAFF_CLAIM) is True,
        issued_after=claims.get(SIGN_OUT_CLAIM),
        family=claims.get(FAMILY_CLAIM, ""),
    )


def verified_claims_of(kind: str, raw: str) -> Claims:
    """Return the claims of a token of this kind. Raises `TokenInvalid`."""
    claims = verified_claims(raw)
    if claims.get("token_type") != kind or not isinstance(claims.get("jti"), str):
        raise TokenInvalid
    return claims


def account_id_of(claims: Claims) -> int:
    try:
        return int(claims[ACCOUNT_CLAIM])
    except (KeyError, TypeError, ValueError):
        raise TokenInvalid from None


def sign(claims: Claims) -> str:
    """Return a token with these claims, signed with the first key."""
    return _sign(claims, *settings.TOKEN_SIGNING_KEYS[0])


def verified_claims(raw: str) -> Claims:
    """Return the token's claims after verifying its signature and its times. Raises `TokenInvalid`.

    Every call needs this, and PyJWT takes five times as long. The header must equal one that `sign` writes:
    that pins the algorithm and the type, and refuses unknown keys and extensions (`crit`).
    """
    signed, _, signature = raw.rpartition(".")
    header, _, payload = signed.partition(".")
    key = _keys_by_header(settings.TOKEN_SIGNING_KEYS).get(header)
    if key is None:
        raise TokenInvalid
    try:
        # A copy, because `hmac.digest` lets other threads run: under load they keep the event loop waiting.
        code = key.copy()
        code.update(signed.encode("ascii"))
        expected = b2a_base64(code.digest(), newline=False).translate(URL_SAFE).rstrip(b"=")
        if not hmac.compare_digest(expected, signature.encode("ascii")):
            raise TokenInvalid
        claims = orjson.loads(a2b_base64(payload.replace("-", "+").replace("_", "/") + "=="))
    except ValueError:
        raise TokenInvalid from None
    if not isinstance(claims, dict) or not _are_valid_now(claims):
        raise TokenInvalid
    return claims


def _are_valid_now(claims: Claims) -> bool:
    """Whether the token has not expired and is valid already, by the clock that all processes share.

    Instants are whole seconds; only `nbf` may be missing.
    """
    issued_at = claims.get("iat")
    expires_at = claims.get("exp")
    not_before = claims.get("nbf", 0)
    if type(issued_at) is type(expires_at) is type(not_before) is int:
        return not_before <= clock.seconds() < expires_at
    return False


@lru_cache(maxsize=8)
def _keys_by_header(keys: Keys) -> dict[str, hmac.HMAC]:
    """Each key, to be copied for a token, by the encoded header of the tokens that it signs."""
    return {
        _sign({}, key_id, key).partition(".")[0]: hmac.new(key.encode(), digestmod="sha256")
        for key_id, key in keys
    }


def _sign(claims: Claims, key_id: str, key: str) -> str:
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id} if key_id else None)
