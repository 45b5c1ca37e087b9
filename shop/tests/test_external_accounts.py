"""Tokens of the shop's own identity provider, in both lanes: whom they name, and which are refused."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured

from accounts import accounts
from accounts.models import ExternalIdentity
from accounts.personal_data import erasure, registry
from accounts.tests.clients import Api, client_of, new_superuser, problem_of
from accounts.tests.own_identity_provider import AUDIENCE, FIRST, IdentityProvider, SigningKey
from accounts.tokens import authentication, disabled_accounts, external_accounts, provider_keys, sign_outs
from coupons.tests.factories import CampaignFactory
from foundation import clock
from foundation.concurrency.event_loop import run_blocking
from foundation.http import json_format
from foundation.http.messages import BurstRequest
from foundation.tests.factories import AccountFactory, set_columns
from foundation.tests.racing import race
from shop import configuration
from shop.burst import lane, table

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("identity_provider")]
OTHER_KEY = SigningKey("first")
"""Of another provider, by the id that ours has."""


def own_account(raw: str):
    """What Django's lane says of the caller."""
    return Api(access=raw).read("/users/me")


def refusal(raw: str) -> tuple[int, str]:
    """How both lanes refuse the token."""
    answers = {
        problem_of(Api(access=raw).get("/users/me")),
        (lambda answer: (answer.status_code, answer.code))(coupon_call(raw, campaign=1)),
    }
    assert len(answers) == 1
    return answers.pop()


def coupon_call(raw: str, *, campaign: int):
    """The burst lane's answer to a request for a coupon."""
    fields = {
        b"authorization": f"Bearer {raw}".encode(),
        b"content-type": b"application/json",
        b"host": b"localhost",
    }
    found = table.find("POST", "coupons")
    assert found
    call = BurstRequest("POST", "/api/v1/coupons", fields, json_format.dump({"campaign": campaign}))
    return run_blocking(lane.answer_call(call, found))


def test_both_lanes_accept_a_token_and_know_the_same_account(identity_provider):
    raw = identity_provider.token(
        "sub-1", preferred_username="ada", email="ada@example.org", email_verified=True
    )
    campaign = CampaignFactory()

    issued = coupon_call(raw, campaign=campaign.pk)
    account = own_account(raw)

    assert issued.status_code == 201, issued.body
    assert json.loads(issued.body)["account"] == account["id"]
    assert account == {"id": account["id"], "username": "ada", "email": "ada@example.org", "is_staff": False}
    shown = new_superuser().read(f"/users/{account['id']}")
    assert shown["external_id"] == "sub-1" and shown["email"] == "ada@example.org"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_each_algorithm_is_accepted(identity_provider, algorithm):
    key = SigningKey(f"of {algorithm}", algorithm)
    identity_provider.have(key, FIRST)

    assert own_account(identity_provider.token("sub-1", key=key))["username"].startswith("oidc-")


@pytest.mark.parametrize("email_verified", [None, False, "true", 1])
def test_an_address_that_is_not_verified_is_not_kept(identity_provider, email_verified):
    raw = identity_provider.token("sub-1", email="ada@example.org", email_verified=email_verified)

    assert own_account(raw)["email"] == ""


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ada ",
        "a" * 151,
        "oidc-1",
        "OIDC-7",
        "óidc-9",
        "Öidc-9",
        "erased-3",
        "ada<b>",
        "\x00",
        7,
        ["ada"],
        "ada",
    ],
)
def test_a_name_that_is_taken_or_none_is_replaced_by_the_number(identity_provider, name):
    AccountFactory(username="ada")

    account = own_account(identity_provider.token("sub-1", preferred_username=name))

    assert account["username"] == f"oidc-{account['id']}"


def test_a_number_whose_name_is_taken_leaves_the_account_a_random_name(identity_provider):
    first = own_account(identity_provider.token("sub-1"))["id"]
    for number in range(first, first + 5):
        AccountFactory(username=f"oidc-{first + 5 + number - first + 1}")

    names = {own_account(identity_provider.token(f"sub-{number}"))["username"] for number in range(2, 8)}

    assert len(names) == 6
    assert all(name.startswith("oidc-") for name in names)


def test_an_account_is_looked_up_again_after_a_minute(identity_provider, monkeypatch):
    raw, other = identity_provider.token("sub-1"), AccountFactory()
    first = own_account(raw)["id"]
    # As after a failover that lost the commit, and gave the number to another person.
    ExternalIdentity.objects.filter(account_id=first).update(external_id="another")
    ExternalIdentity.objects.create(account=other, issuer=identity_provider.issuer, external_id="sub-1")
    assert own_account(raw)["id"] == first

    monkeypatch.setattr(external_accounts, "REMEMBERED_SECONDS", 0.0)
    external_accounts.forget()

    assert own_account(raw)["id"] == own_account(raw)["id"] == other.pk


def test_a_new_key_is_503_while_the_provider_is_away(identity_provider, settings):
    assert own_account(identity_provider.token("sub-1"))["id"]
    settings.IDENTITY_JWKS_URL = "http://127.0.0.1:9/jwks"
    pass_seconds(provider_keys.PAUSE_SECONDS)

    assert refusal(SigningKey("second").sign(identity_provider.claims("sub-1"))) == (503, "unavailable")


def test_nobody_registers_a_name_like_those(identity_provider):
    given = {"username": "oidc-12", "email": "ada@example.org", "password": "harbour-and-tide-9"}

    answer = Api().post("/users", given)

    assert answer.status_code == 400 and answer.json()["errors"][0]["code"] == "taken"


def test_no_claim_makes_staff_and_no_external_token_has_rights_of_staff(identity_provider):
    claims = {"is_staff": True, "staff": True, "is_superuser": True, "roles": ["admin"], "groups": ["admin"]}
    raw = identity_provider.token("sub-1", **claims)
    account = User.objects.get(pk=own_account(raw)["id"])
    assert not account.is_staff and not account.is_superuser
    assert problem_of(Api(access=raw).get(f"/users/{account.pk}")) == (403, "permission_denied")

    set_columns(account, is_staff=True, is_superuser=True)

    assert problem_of(Api(access=raw).get(f"/users/{account.pk}")) == (403, "permission_denied")
    assert client_of(account).get(f"/users/{account.pk}").status_code == 200


def test_the_provider_signs_in_to_no_account_that_was_registered_here(identity_provider):
    ada = AccountFactory(username="ada", email="ada@example.org")

    account = own_account(
        identity_provider.token(
            str(ada.pk), preferred_username="ada", email="ada@example.org", email_verified=True
        )
    )

    assert account["id"] != ada.pk
    assert Api().post("/auth/token", {"username": account["username"], "password": "x"}).status_code == 401


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """The part of a token that its signature is of."""
    return f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"


def without_signature(claims: dict[str, Any]) -> str:
    return f"{unsigned({'alg': 'none', 'typ': 'JWT', 'kid': 'first'}, claims)}."


def by_the_public_key_as_a_secret(provider: IdentityProvider) -> str:
    """The attack of a verifier that lets the token choose: HMAC by what everybody can read."""
    public = json.dumps({name: provider.keys[0].private[name] for name in ("kty", "n", "e")})
    signed = unsigned({"alg": "HS256", "typ": "JWT", "kid": "first"}, provider.claims("sub-1"))
    return f"{signed}.{encoded(hmac.digest(public.encode(), signed.encode(), 'sha256'))}"


def by_our_key(provider: IdentityProvider) -> str:
    """The provider's claims, signed as tokens of the shop are."""
    return authentication.sign(provider.claims("sub-1"))


HOSTILE = {
    "no signature": lambda own: without_signature(own.claims("sub-1")),
    "the public key as a secret": by_the_public_key_as_a_secret,
    "our key": by_our_key,
    "another provider's key": lambda own: OTHER_KEY.sign(own.claims("sub-1")),
    "a key that is not there": lambda own: SigningKey("second").sign(own.claims("sub-1")),
    "no key named": lambda own: jwt.encode(own.claims("sub-1"), own.keys[0].secret, "RS256"),
    "a curve for an RSA key": lambda own: SigningKey("first", "ES256").sign(own.claims("sub-1")),
    "another issuer": lambda own: own.keys[0].sign(own.claims("sub-1", iss="http://127.0.0.1:1")),
    "the issuer with a slash": lambda own: own.keys[0].sign(own.claims("sub-1", iss=f"{own.issuer}/")),
    "no issuer": lambda own: own.keys[0].sign(own.claims("sub-1", iss=None)),
    "another audience": lambda own: own.keys[0].sign(own.claims("sub-1", aud="https://other.example")),
    "no audience": lambda own: own.keys[0].sign(own.claims("sub-1", aud=None)),
    "expired 61 s ago": lambda own: own.keys[0].sign(own.claims("sub-1", exp=int(clock.seconds()) - 61)),
    "no expiry": lambda own: own.keys[0].sign(own.claims("sub-1", exp=None)),
    "an expiry that is text": lambda own: own.keys[0].sign(own.claims("sub-1", exp="2099")),
    "an expiry that is true": lambda own: own.keys[0].sign(own.claims("sub-1", exp=True)),
    "valid in 62 s": lambda own: own.keys[0].sign(own.claims("sub-1", nbf=int(clock.seconds()) + 62)),
    "no subject": lambda own: own.keys[0].sign(own.claims(None)),
    "an empty subject": lambda own: own.keys[0].sign(own.claims("")),
    "a subject of 256 letters": lambda own: own.keys[0].sign(own.claims("s" * 256)),
    "a subject beyond ASCII": lambda own: own.keys[0].sign(own.claims("ädä")),
    "a subject with a blank at its end": lambda own: own.keys[0].sign(own.claims("sub-1 ")),
    "issued two days and a second ago": lambda own: own.keys[0].sign(
        own.claims("sub-1", iat=int(clock.seconds()) - 172_801)
    ),
    "an ID token by its header": lambda own: own.keys[0].sign(own.claims("sub-1"), typ="id+jwt"),
    "Cognito's ID token": lambda own: own.keys[0].sign(own.claims("sub-1", token_use="id")),
    "Keycloak's ID token": lambda own: own.keys[0].sign(own.claims("sub-1", typ="ID")),
    "a token of 9 KB": lambda own: own.keys[0].sign(own.claims("sub-1", more="x" * 9_000)),
    "half a token": lambda own: own.token("sub-1").rpartition(".")[0],
    "no token": lambda own: "x",
    "a changed claim": lambda own: own.token("sub-1").replace(".", ".e30", 1),
    "an extension that must be understood": lambda own: own.keys[0].sign(
        own.claims("sub-1"), crit=["exp"], exp=1
    ),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_what_is_not_a_good_token_of_the_provider_makes_no_account(identity_provider, make):
    assert refusal(make(identity_provider)) == (401, "token_invalid")

    assert not ExternalIdentity.objects.exists()


def test_several_audiences_may_have_ours_among_them(identity_provider):
    raw = identity_provider.keys[0].sign(identity_provider.claims("sub-1", aud=["account", AUDIENCE]))

    assert own_account(raw)["id"]


@pytest.mark.parametrize(
    ("claim", "seconds", "is_accepted"),
    [("exp", -59, True), ("exp", -120, False), ("nbf", 59, True), ("nbf", 120, False), ("iat", 120, True)],
)
def test_clocks_may_differ_by_a_minute(identity_provider, claim, seconds, is_accepted):
    instant = int(clock.seconds()) + seconds
    raw = identity_provider.keys[0].sign(identity_provider.claims("sub-1", **{claim: instant}))

    assert (Api(access=raw).get("/users/me").status_code == 200) is is_accepted


def test_a_shop_without_a_provider_accepts_none(identity_provider, settings):
    raw = identity_provider.token("sub-1")
    settings.IDENTITY_ISSUER = ""

    assert refusal(raw) == (401, "token_invalid")


def test_our_own_tokens_are_accepted_beside_the_providers(identity_provider):
    ada = AccountFactory()

    before = identity_provider.times_asked()
    assert client_of(ada).read("/users/me")["id"] == ada.pk
    assert identity_provider.times_asked() == before


def test_a_disabled_account_is_refused_until_it_is_enabled(identity_provider):
    raw = identity_provider.token("sub-1")
    account_id = own_account(raw)["id"]

    accounts.disable(account_ids=[account_id])
    disabled_accounts.CACHED.forget()

    assert refusal(raw) == (401, "token_invalid")
    assert ExternalIdentity.objects.count() == 1
    sign_outs.enable(account_id=account_id)
    disabled_accounts.CACHED.forget()
    assert refusal(raw) == (401, "token_invalid"), "what was issued before stays ended"
    later = identity_provider.keys[0].sign(identity_provider.claims("sub-1", iat=int(clock.seconds()) + 2))
    assert own_account(later)["id"] == account_id


def test_an_account_that_was_signed_out_everywhere_needs_a_later_token(identity_provider):
    raw = identity_provider.keys[0].sign(identity_provider.claims("sub-1", iat=int(clock.seconds()) - 5))
    account_id = own_account(raw)["id"]

    sign_outs.sign_out_everywhere(account_id=account_id, reason="The phone was stolen.")
    disabled_accounts.CACHED.forget()

    assert refusal(raw) == (401, "token_invalid")
    without = identity_provider.keys[0].sign(identity_provider.claims("sub-1", iat=None))
    assert refusal(without) == (401, "token_invalid")
    later = identity_provider.keys[0].sign(identity_provider.claims("sub-1", iat=int(clock.seconds()) + 2))
    assert own_account(later)["id"] == account_id


def test_an_erased_person_who_comes_again_gets_a_new_account(identity_provider):
    raw = identity_provider.token(
        "sub-1", preferred_username="ada", email="ada@example.org", email_verified=True
    )
    first = own_account(raw)["id"]
    exported = json.loads(registry.export(account_id=first, reason="asked"))["tables"]
    assert exported["accounts.ExternalIdentity"][0]["external_id"] == "sub-1"
    erasure.start(account_id=first, reason="asked")
    disabled_accounts.CACHED.forget()
    assert refusal(raw) == (401, "token_invalid")
    with clock.shifted(by=erasure.SETTLING * 2):
        erasure.erase(account_id=first, reason="asked")

    second = own_account(raw)["id"]

    assert second != first
    assert not ExternalIdentity.objects.filter(account_id=first).exists()
    assert own_account(raw) == {
        "id": second,
        "username": "ada",
        "email": "ada@example.org",
        "is_staff": False,
    }
    assert User.objects.get(pk=first).username == f"erased-{first}"


def test_twenty_calls_at_once_by_one_person_make_one_account(identity_provider):
    raw = identity_provider.token("sub-1", preferred_username="ada")

    answers = race([lambda: own_account(raw)["id"]] * 20)

    assert len({*answers}) == 1
    assert User.objects.count() == ExternalIdentity.objects.count() == 1


def test_an_operator_finds_the_account_by_the_providers_name(identity_provider):
    account_id = own_account(identity_provider.token("auth0|9f2"))["id"]

    assert accounts.find_ids("auth0|9f2", most=5) == {account_id}


# The provider's keys


def test_a_rotated_key_is_fetched_when_a_token_names_it(identity_provider):
    old = identity_provider.token("sub-1")
    assert own_account(old)["id"]
    identity_provider.have(SigningKey("second"), FIRST)
    assert problem_of(Api(access=identity_provider.token("sub-2")).get("/users/me")) == (401, "token_invalid")

    pass_seconds(provider_keys.PAUSE_SECONDS)

    assert own_account(identity_provider.token("sub-2"))["id"] != own_account(old)["id"]


def test_unknown_keys_have_the_provider_asked_once_in_ten_seconds(identity_provider):
    before = identity_provider.times_asked()
    for number in range(20):
        raw = OTHER_KEY.sign(identity_provider.claims("sub-1"), kid=f"unknown {number}")
        assert problem_of(Api(access=raw).get("/users/me")) == (401, "token_invalid")

    assert identity_provider.times_asked() == before + 1


def test_keys_are_kept_while_the_provider_is_away(identity_provider, settings):
    raw = identity_provider.token("sub-1")
    assert own_account(raw)["id"]
    settings.IDENTITY_JWKS_URL = "http://127.0.0.1:9/jwks"

    pass_seconds(provider_keys.KEPT_SECONDS * 3)

    began_at = time.monotonic()
    for _ in range(20):
        assert own_account(raw)["id"]
    assert time.monotonic() - began_at < provider_keys.FETCH_SECONDS


def test_a_withdrawn_key_is_accepted_for_an_hour_at_most(identity_provider):
    raw = identity_provider.token("sub-1")
    assert own_account(raw)["id"]
    identity_provider.have(SigningKey("second"))

    pass_seconds(provider_keys.KEPT_SECONDS)
    Api(access=raw).get("/users/me")
    fetching = provider_keys.KEYS._fetching
    assert fetching is not None
    fetching.result(timeout=10)

    assert refusal(raw) == (401, "token_invalid")


def test_before_the_keys_are_known_nobody_is_refused_for_good(identity_provider, settings):
    settings.IDENTITY_JWKS_URL = "http://127.0.0.1:9/jwks"
    provider_keys.KEYS.forget()

    assert refusal(identity_provider.token("sub-1")) == (503, "unavailable")
    assert client_of(AccountFactory()).get("/users/me").status_code == 200


def pass_seconds(seconds: float):
    """As if the keys had been fetched, and asked for, so long before."""
    provider_keys.KEYS._fetched_at -= seconds
    provider_keys.KEYS._tried_at -= seconds


def test_keys_of_other_kinds_are_left_out():
    rsa, curve, edwards = (SigningKey(name, name).private for name in ("RS256", "ES256", "EdDSA"))
    symmetric = {"kty": "oct", "k": "c2VjcmV0", "kid": "oct", "alg": "HS256"}
    others = [
        symmetric,
        {**rsa, "kid": "for encryption", "use": "enc"},
        {**rsa, "kid": "of another algorithm", "alg": "RS512"},
        {**curve, "kid": "of another curve", "crv": "P-521"},
        {"kty": "RSA", "kid": "without a modulus"},
        {**rsa, "kid": "short", "n": "AQAB"},
        {**rsa, "kid": ["a list"]},
        {**curve, "kid": "an object for a curve", "crv": {}},
        "text",
        None,
    ]

    found = provider_keys.usable_keys({"keys": [*others, rsa, curve, edwards]})

    assert {key_id: key.algorithm_name for key_id, key in found.items()} == {
        "RS256": "RS256",
        "ES256": "ES256",
        "EdDSA": "EdDSA",
    }


@pytest.mark.parametrize("document", [[], {}, {"keys": None}, "text", None])
def test_what_is_no_set_of_keys_is_refused(document):
    with pytest.raises(ValueError, match="not a set of keys"):
        provider_keys.usable_keys(document)


# REGISTRATION=off


def test_customers_neither_register_nor_sign_in_by_password_if_registration_is_off(settings):
    buyer, staff = AccountFactory(), AccountFactory(is_staff=True)
    for account in (buyer, staff):
        account.set_password("harbour-and-tide-9")
        account.save()
    settings.REGISTRATION = False
    settings.STAFF_OTP_REQUIRED = False
    given = {"username": "eve", "email": "eve@example.org", "password": "harbour-and-tide-9"}

    assert problem_of(Api().post("/users", given)) == (403, "registration_off")
    assert problem_of(sign_in(buyer)) == (403, "registration_off")
    assert sign_in(staff).status_code == 200
    assert not User.objects.filter(username="eve").exists()


def sign_in(account: User):
    return Api().post("/auth/token", {"username": account.username, "password": "harbour-and-tide-9"})


@pytest.mark.parametrize("lacking", ["IDENTITY_ISSUER", "IDENTITY_AUDIENCE", "IDENTITY_JWKS_URL"])
def test_the_three_settings_belong_together(monkeypatch, lacking):
    names = ("IDENTITY_ISSUER", "IDENTITY_AUDIENCE", "IDENTITY_JWKS_URL")
    for name in names:
        monkeypatch.setenv(name, "" if name == lacking else "https://id.example/")

    with pytest.raises(ImproperlyConfigured, match="belong together"):
        configuration.require_together(*names)
