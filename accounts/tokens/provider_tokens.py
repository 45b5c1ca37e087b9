"""Verifies access tokens of the identity provider: those of RFC 9068, and what providers issued before."""

import re
from typing import Any, NamedTuple

import jwt
from django.conf import settings

from accounts.tokens.disabled_accounts import SIGN_OUTS_READ
from accounts.tokens.provider_keys import ALGORITHMS, KEYS
from foundation import clock
from foundation.account import TokenInvalid
from foundation.values import Values

SLACK_SECONDS = 60
"""By so much the provider's clock may differ from the shop's."""
SUBJECT = re.compile(r"(?! )[\x20-\x7e]{1,255}(?<! )")
"""What OpenID Connect allows for `sub`, without blanks at its ends: databases compare texts without these."""
LONGEST_TOKEN = 8_192
"""PyJWT takes time in proportion to a token's length, before it knows the signature."""
TYPES = ("jwt", "at+jwt", "application/at+jwt")
"""Of a token's header: any other is no access token."""
CHECKED_HERE: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_jti": False}
"""PyJWT would compare with the host's clock; the shop's processes share one."""


class Identity(NamedTuple):
    """A person as the provider names them: `external_id` is the token's `sub`.

    `username` and `email` are empty where the provider doesn't say. `issued_at` is in seconds since 1970,
    None if the token doesn't say.
    """

    issuer: str
    external_id: str
    username: str = ""
    email: str = ""
    issued_at: int | None = None


async def verify(raw: str) -> Identity:
    """The person whom this token names. Raises `TokenInvalid`, and `Unavailable` before keys are known."""
    try:
        if len(raw) > LONGEST_TOKEN:
            raise TokenInvalid
        header = jwt.get_unverified_header(raw)
        if header.get("alg") not in ALGORITHMS.values() or str(header.get("typ", "jwt")).lower() not in TYPES:
            raise TokenInvalid
        key = await KEYS.find(header.get("kid"))
        if key is None:
            raise TokenInvalid
        claims = jwt.decode(
            raw,
            key,
            algorithms=[key.algorithm_name],
            audience=settings.IDENTITY_AUDIENCE,
            issuer=settings.IDENTITY_ISSUER,
            options={"require": ["exp", "iss", "aud", "sub"], **CHECKED_HERE},
        )
    except (jwt.PyJWTError, ValueError):
        raise TokenInvalid from None
    subject = claims["sub"]
    issued_at = _instant(claims.get("iat"))
    # Sign-outs are remembered no longer: nobody could say any more whether such a token was ended.
    is_too_old = issued_at is not None and issued_at < clock.seconds() - SIGN_OUTS_READ.total_seconds()
    # Cognito or Keycloak says that it is meant for the application, and not for an API.
    is_id_token = claims.get("token_use", "access") != "access" or claims.get("typ") == "ID"
    if is_too_old or is_id_token or not is_valid_now(claims) or not SUBJECT.fullmatch(subject):
        raise TokenInvalid
    return Identity(
        issuer=settings.IDENTITY_ISSUER,
        external_id=subject,
        username=_text(claims.get("preferred_username")),
        email=_text(claims.get("email")) if claims.get("email_verified") is True else "",
        issued_at=issued_at,
    )


def is_valid_now(claims: Values) -> bool:
    """Whether the token has not expired and is valid already, with the slack."""
    now = clock.seconds()
    expires_at = _instant(claims["exp"])
    not_before = _instant(claims.get("nbf", 0))
    if expires_at is None or not_before is None:
        return False
    return not_before - SLACK_SECONDS <= now < expires_at + SLACK_SECONDS


def _instant(value: Any) -> int | None:
    """Seconds since 1970, as RFC 7519 writes instants; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Infinity and NaN are no instants.
    return int(value) if is_number and abs(value) < 2**53 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
