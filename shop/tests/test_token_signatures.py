"""Tokens must be signed by one of the shop's keys, in one form, and be valid now; keys can be rotated."""

from base64 import urlsafe_b64encode
from itertools import pairwise
from typing import Any

import jwt
import pytest
from django.conf import LazySettings, settings as project_settings
from django.contrib.auth.models import User

from shop import clock
from shop.accounts import authentication, tokens
from shop.accounts.authentication import TokenInvalid, verified_claims

OLD, NEW = ("2026-01", "o" * 32), ("2026-11", "n" * 32)
ADA = User(pk=7)


def claims(**changes: object) -> dict[str, Any]:
    """Valid claims, except for the given ones; None omits a claim."""
    now = int(clock.now().timestamp())
    good = {"token_type": "access", "jti": "j", "user_id": "7", "iat": now, "exp": now + 60}
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(header: dict[str, object] | None = None, key: str = "", **changes: object) -> str:
    """A token with a right signature, whose header and claims are valid except for the given ones."""
    key = key or project_settings.SECRET_KEY
    algorithm = str((header or {}).get("alg", "HS256"))
    return jwt.encode(claims(**changes), "" if algorithm == "none" else key, algorithm, headers=header)


def segments(header: str, payload: str) -> str:
    """A token with this header and payload, and with a right signature."""
    parts = [urlsafe_b64encode(text.encode()).rstrip(b"=").decode() for text in (header, payload)]
    text = ".".join(parts)
    digest = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = digest.sign(text.encode(), project_settings.SECRET_KEY.encode())
    return f"{text}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_a_token_that_differs_in_nothing_is_good() -> None:
    assert verified_claims(signed())["user_id"] == "7"
    assert verified_claims(signed(nbf=0))["nbf"] == 0


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS512"},
        {"alg": "HS384"},
        {"typ": "at+jwt"},
        {"typ": None},
        {"kid": ""},
        {"kid": "unknown"},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"jku": "https://example.com/keys"},
    ],
    ids=str,
)
def test_a_header_that_we_did_not_write_is_refused_though_its_signature_is_right(header: object) -> None:
    with pytest.raises(TokenInvalid):
        verified_claims(signed(header))


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ["1", 4102444800.0, True, [1], {}, "4102444800"], ids=repr)
def test_an_instant_that_is_no_whole_number_is_refused(claim: str, value: object) -> None:
    with pytest.raises(TokenInvalid):
        verified_claims(signed(**{claim: value}))


@pytest.mark.parametrize("claim", ["exp", "iat"])
def test_a_token_without_its_times_is_refused(claim: str) -> None:
    with pytest.raises(TokenInvalid):
        verified_claims(signed(**{claim: None}))


def test_an_expired_token_and_one_that_is_not_good_yet_are_refused() -> None:
    now = int(clock.now().timestamp())
    for times in ({"exp": now}, {"exp": now - 1}, {"nbf": now + 60}):
        with pytest.raises(TokenInvalid):
            verified_claims(signed(**times))


@pytest.mark.parametrize("payload", ["[]", "7", "null", '"exp"', "", "{", "NaN"])
def test_claims_that_are_no_object_are_refused(payload: str) -> None:
    with pytest.raises(TokenInvalid):
        verified_claims(segments('{"alg":"HS256","typ":"JWT"}', payload))


def test_a_signature_has_one_spelling() -> None:
    good = signed()
    for spelling in (f"{good}=", f"{good}\n", f"{good}.", f" {good}", good[:-1], f"{good[:-3]}!{good[-3:]}"):
        with pytest.raises(TokenInvalid):
            verified_claims(spelling)


def test_a_header_in_another_spelling_is_refused() -> None:
    """The same JSON in another order, or with a duplicate name, of which parsers use the first or last."""
    payload = '{"iat":1,"exp":4102444800}'
    assert verified_claims(segments('{"alg":"HS256","typ":"JWT"}', payload))
    for header in ('{"typ":"JWT","alg":"HS256"}', '{"alg":"none","alg":"HS256","typ":"JWT"}'):
        with pytest.raises(TokenInvalid):
            verified_claims(segments(header, payload))


def test_tokens_name_the_key_that_signed_them(settings: LazySettings) -> None:
    settings.TOKEN_SIGNING_KEYS = (NEW,)
    raw = tokens.create_access_token(ADA)

    assert jwt.get_unverified_header(raw) == {"alg": "HS256", "typ": "JWT", "kid": "2026-11"}
    assert jwt.decode(raw, NEW[1], algorithms=["HS256"])["user_id"] == "7"


def test_a_key_signs_under_its_own_id_only(settings: LazySettings) -> None:
    settings.TOKEN_SIGNING_KEYS = (NEW, OLD)
    assert verified_claims(signed({"kid": OLD[0]}, key=OLD[1]))

    for header, key in (({"kid": NEW[0]}, OLD[1]), ({}, NEW[1]), ({}, project_settings.SECRET_KEY)):
        with pytest.raises(TokenInvalid):
            verified_claims(signed(header, key=key))


def test_keys_are_rotated_without_ending_any_sign_in(settings: LazySettings) -> None:
    """The steps of docs/operations.md, each while processes of the previous step still run."""
    secret = ("", settings.SECRET_KEY)
    steps = [(secret,), (secret, OLD), (OLD, secret), (OLD,), (OLD, NEW), (NEW, OLD), (NEW,)]
    for before, after in pairwise(steps):
        settings.TOKEN_SIGNING_KEYS = before
        of_before = authentication.sign(claims())
        settings.TOKEN_SIGNING_KEYS = after
        of_after = authentication.sign(claims())

        assert verified_claims(of_before)
        settings.TOKEN_SIGNING_KEYS = before
        assert verified_claims(of_after)

    settings.TOKEN_SIGNING_KEYS = (OLD,)
    retired = authentication.sign(claims())
    settings.TOKEN_SIGNING_KEYS = (NEW,)
    with pytest.raises(TokenInvalid):
        verified_claims(retired)
