"""Refresh tokens are valid for one use, access tokens identify one account; both by their signatures."""

import threading
from base64 import urlsafe_b64encode
from datetime import timedelta
from itertools import pairwise
from typing import Any

import jwt
import pytest
from django.conf import settings as project_settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.utils import timezone

from accounts import accounts
from accounts.models import RevokedToken
from accounts.tests.clients import Api, client_of, new_customer, problem_of, signed_in
from accounts.tokens import authentication, disabled_accounts, sign_outs, token_pairs
from accounts.tokens.authentication import verified_claims
from accounts.tokens.token_pairs import REUSE_GRACE, TokenPair
from foundation import clock
from foundation.account import TokenInvalid
from foundation.models import JournalLine
from foundation.rates.rate import Rate
from foundation.tests.factories import PASSWORD, AccountFactory, SuperuserFactory
from foundation.tests.journal_lines import journal_line
from foundation.tests.racing import race

pytestmark = pytest.mark.django_db
LATER = REUSE_GRACE + timedelta(seconds=1)


def refreshed(refresh: str) -> str | None:
    answer = client_of().post("/auth/refresh", {"refresh": refresh})
    if answer.status_code == 200:
        return str(answer.json()["refresh"])
    assert problem_of(answer) == (401, "token_invalid")
    return None


def claims(**changes) -> dict[str, Any]:
    """Valid claims, except for the given ones; None omits a claim."""
    now = int(clock.seconds())
    good = {"token_type": "access", "jti": "j", "user_id": "7", "iat": now, "exp": now + 900}
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(header: dict[str, object] | None = None, key="", **changes) -> str:
    """A token with a right signature, whose header and claims are valid except for the given ones."""
    key = key or project_settings.SECRET_KEY
    algorithm = str((header or {}).get("alg", "HS256"))
    return jwt.encode(claims(**changes), "" if algorithm == "none" else key, algorithm, headers=header)


def test_an_access_token_has_the_account_a_hint_of_staff_and_a_quarter_of_an_hour_by_default():
    account = authentication.verify_access_token(token_pairs.create_access_token(User(pk=7, is_staff=True)))

    assert (account.id, account.is_staff, account.is_authenticated) == (7, True, True)
    with pytest.raises(AttributeError):
        account.id = 8  # type: ignore[misc]

    def lifetime(raw):
        claims = jwt.decode(raw, options={"verify_signature": False})
        return int(claims["exp"] - claims["iat"])

    assert lifetime(token_pairs.create_access_token(User(pk=7))) == 15 * 60
    assert lifetime(token_pairs.create_access_token(User(pk=7), lifetime=timedelta(hours=24))) == 24 * 3600


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "word",
        "a.b.c",
        "\x00",
        "é.é.é",
        token_pairs.create_access_token(User(pk=1), lifetime=timedelta(seconds=-1)),
        token_pairs.create_access_token(User(pk=1))[:-2],
        signed(token_type="refresh"),
        signed(key="k" * 64),
        signed(user_id=None),
        signed(user_id="seven"),
        signed(token_type=None),
        signed(jti=None),
    ],
)
def test_anything_else_is_no_access_token(raw):
    with pytest.raises(TokenInvalid):
        authentication.verify_access_token(raw)


def test_a_refresh_token_is_good_for_one_use():
    account = AccountFactory()
    refresh = token_pairs.create_token_pair(account).refresh

    first = client_of().post("/auth/refresh", {"refresh": refresh})

    assert first.status_code == 200
    assert authentication.verify_access_token(first.json()["access"]).id == account.pk
    assert refreshed(refresh) is None
    assert refreshed(first.json()["refresh"]), "a client that repeats at once does not end its sign-in"
    assert not JournalLine.objects.exists()


def test_of_ten_simultaneous_uses_of_a_refresh_token_one_succeeds(transactional_db):
    refresh = token_pairs.create_token_pair(AccountFactory()).refresh

    outcomes = race([lambda: token_pairs.rotate(refresh)] * 10)

    assert sum(isinstance(outcome, TokenPair) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, TokenInvalid) for outcome in outcomes) == 9
    assert RevokedToken.objects.count() == 1


def test_reading_the_blacklist_first_lets_several_succeed(transactional_db):
    """The control case: a read, and then a write that the key does not judge."""
    account = AccountFactory()
    claims = authentication.verified_claims(token_pairs.create_token_pair(account).refresh)
    all_have_read = threading.Barrier(4, timeout=30)

    def rotate_naively():
        assert not RevokedToken.objects.filter(id=claims["jti"]).exists()
        all_have_read.wait()
        token_pairs._mark_used(claims)
        return token_pairs.create_token_pair(account)

    outcomes = race([rotate_naively] * 4)

    assert sum(isinstance(outcome, TokenPair) for outcome in outcomes) > 1


@pytest.mark.parametrize("fate", ["disabled", "gone", "another password"])
def test_a_refresh_token_is_refused_once_its_account_ended_or_has_another_password(fate):
    account = AccountFactory()
    refresh, found = token_pairs.create_token_pair(account).refresh, User.objects.filter(pk=account.pk)
    if fate == "disabled":
        found.update(is_active=False)
    elif fate == "gone":
        found.delete()
    else:
        account.set_password(PASSWORD + "8")
        account.save()
        assert refreshed(token_pairs.create_token_pair(account).refresh)

    assert refreshed(refresh) is None


def test_what_an_account_had_before_it_was_disabled_stays_ended_once_it_is_enabled():
    account = SuperuserFactory()
    pair, thief = token_pairs.create_token_pair(account), signed_in(account)
    accounts.disable(account_ids=[account.pk])

    assert sign_outs.enable(account_id=account.pk, reason="It was found.") == 1
    assert sign_outs.enable(account_id=account.pk) == 0

    assert refreshed(pair.refresh) is None
    disabled_accounts.CACHED.forget()
    assert Api(access=pair.access).get("/wallet").status_code == 401
    assert thief.get("/admin/").status_code == 302
    account.refresh_from_db()
    assert refreshed(token_pairs.create_token_pair(account).refresh)


def test_a_sign_in_that_renews_the_passwords_hash_gives_a_good_refresh_token_and_writes_no_more(settings):
    account = AccountFactory(password=make_password(PASSWORD))
    scrypt = "django.contrib.auth.hashers.ScryptPasswordHasher"
    settings.PASSWORD_HASHERS = [scrypt, *settings.PASSWORD_HASHERS]

    pair = client_of().post("/auth/token", {"username": account.username, "password": PASSWORD}).json()

    account.refresh_from_db()
    assert account.password.startswith("scrypt") and account.last_login is None
    assert not RevokedToken.objects.exists()
    assert refreshed(pair["refresh"])


def test_the_next_account_with_a_number_that_a_failover_assigned_twice_is_not_taken_over():
    lost = AccountFactory()
    refresh = token_pairs.create_token_pair(lost).refresh
    number = lost.pk
    lost.delete()
    following = AccountFactory(pk=number, username="another-account", password=make_password(PASSWORD))

    assert refreshed(refresh) is None
    assert refreshed(token_pairs.create_token_pair(following).refresh)


@pytest.mark.parametrize("uses", [1, 2])
def test_a_stolen_refresh_token_that_was_rotated_does_not_go_on_for_ever(uses):
    """Whether the thief used it first, or second after the owner."""
    account = AccountFactory()
    stolen, other = (
        token_pairs.create_token_pair(account).refresh,
        token_pairs.create_token_pair(account).refresh,
    )
    last = stolen
    for _ in range(uses):
        last = refreshed(last)
        assert last

    with clock.shifted(by=LATER):
        assert refreshed(stolen) is None
        assert refreshed(last) is None
        assert refreshed(stolen) is None
        assert refreshed(other), "other sign-ins of the account go on"

    line = journal_line("account.refresh_token_reused")
    assert (line.subject, line.is_internal) == (f"account {account.pk}", True)


def test_an_account_alone_signs_itself_out_which_ends_the_refresh_token_and_may_be_repeated():
    account = AccountFactory()
    api, refresh = client_of(account), refreshed(token_pairs.create_token_pair(account).refresh)

    assert new_customer().post("/auth/logout", {"refresh": refresh}).status_code == 401
    refresh = refreshed(refresh or "")
    assert api.post("/auth/logout", {"refresh": refresh}).status_code == 204
    assert api.post("/auth/logout", {"refresh": refresh}).status_code == 204
    assert client_of().post("/auth/refresh", {"refresh": refresh}).json()["code"] == "token_invalid"


def test_signing_out_ends_what_followed_from_the_token():
    account = AccountFactory()
    copied = token_pairs.create_token_pair(account).refresh
    of_the_thief = refreshed(copied)
    assert of_the_thief

    assert client_of(account).post("/auth/logout", {"refresh": copied}).status_code == 204

    assert refreshed(of_the_thief) is None


def test_an_access_token_that_names_an_account_alone_is_good_until_it_expires():
    account = AccountFactory()

    assert authentication.verify_access_token(signed(user_id=str(account.pk))).id == account.pk


def test_a_refresh_token_without_a_family_or_a_credential_is_refused_and_so_is_an_access_token():
    account = AccountFactory()
    refresh = signed(token_type="refresh", user_id=str(account.pk))

    assert refreshed(refresh) is None
    assert refreshed(token_pairs.create_access_token(account)) is None
    assert client_of(account).post("/auth/logout", {"refresh": refresh}).status_code == 401


def test_an_account_refreshes_so_often_a_minute_and_a_token_refused_for_that_is_still_good(settings):
    settings.RATE_REFRESHES = Rate(3, 60)
    account = AccountFactory()
    forged = signed(token_type="refresh", user_id=str(account.pk), key="k" * 64)
    assert [refreshed(forged) for _ in range(4)] == [None] * 4, "they do not count towards its limit"
    refresh = token_pairs.create_token_pair(account).refresh
    for _ in range(3):
        following = refreshed(refresh)
        assert following
        refresh = following
    rows = RevokedToken.objects.count()

    for again in (refresh, token_pairs.create_token_pair(account).refresh):
        refused = client_of().post("/auth/refresh", {"refresh": again})
        assert problem_of(refused) == (429, "throttled")
        assert 1 <= int(refused["Retry-After"]) <= 60
    assert RevokedToken.objects.count() == rows
    assert refreshed(token_pairs.create_token_pair(AccountFactory()).refresh), "of another account"
    with clock.shifted(by=timedelta(seconds=61)):
        assert refreshed(refresh)


def test_used_refresh_tokens_are_deleted_once_they_have_expired():
    account = AccountFactory()
    for _ in range(3):
        token_pairs.rotate(token_pairs.create_token_pair(account).refresh)
    old = RevokedToken.objects.order_by("pk")[:2].values_list("pk", flat=True)
    RevokedToken.objects.filter(pk__in=list(old)).update(expires_at=timezone.now())

    assert token_pairs.delete_expired_tokens() == 2
    assert token_pairs.delete_expired_tokens() == 0
    assert RevokedToken.objects.count() == 1


OLD, NEW = ("2026-01", "o" * 32), ("2026-11", "n" * 32)
NO_OBJECTS = ("[]", "7", "null", '"exp"', "", "{", "NaN")


def segments(header: str, payload: str) -> str:
    """A token with this header and payload, and with a right signature."""
    parts = [urlsafe_b64encode(text.encode()).rstrip(b"=").decode() for text in (header, payload)]
    text = ".".join(parts)
    digest = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = digest.sign(text.encode(), project_settings.SECRET_KEY.encode())
    return f"{text}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


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
def test_a_header_that_we_did_not_write_is_refused_though_its_signature_is_right(header):
    with pytest.raises(TokenInvalid):
        verified_claims(signed(header))


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ["1", 4102444800.0, True, [1], {}, "4102444800"], ids=repr)
def test_an_instant_that_is_no_whole_number_is_refused(claim, value):
    with pytest.raises(TokenInvalid):
        verified_claims(signed(**{claim: value}))


def test_a_token_without_its_times_an_expired_one_and_one_that_is_not_good_yet_are_refused():
    assert verified_claims(signed(nbf=0))["nbf"] == 0
    now = int(clock.seconds())
    for times in ({"exp": None}, {"iat": None}, {"exp": now}, {"exp": now - 1}, {"nbf": now + 60}):
        with pytest.raises(TokenInvalid):
            verified_claims(signed(**times))


def test_a_signature_has_one_spelling():
    good = signed()
    assert verified_claims(good)["user_id"] == "7"
    for spelling in (f"{good}=", f"{good}\n", f"{good}.", f" {good}", good[:-1], f"{good[:-3]}!{good[-3:]}"):
        with pytest.raises(TokenInvalid):
            verified_claims(spelling)


def test_a_header_in_another_spelling_and_claims_that_are_no_object_are_refused():
    """The same JSON in another order, or with a duplicate name, of which parsers use the first or last."""
    header, payload = '{"alg":"HS256","typ":"JWT"}', '{"iat":1,"exp":4102444800}'
    assert verified_claims(segments(header, payload))
    wrong = [('{"typ":"JWT","alg":"HS256"}', payload), (f'{{"alg":"none",{header[1:]}', payload)]
    for parts in [*wrong, *((header, no_object) for no_object in NO_OBJECTS)]:
        with pytest.raises(TokenInvalid):
            verified_claims(segments(*parts))


def test_a_key_signs_under_its_own_id_only(settings):
    settings.TOKEN_SIGNING_KEYS = (NEW, OLD)
    raw = token_pairs.create_access_token(User(pk=7))
    assert jwt.get_unverified_header(raw) == {"alg": "HS256", "typ": "JWT", "kid": "2026-11"}
    assert jwt.decode(raw, NEW[1], algorithms=["HS256"])["user_id"] == "7"
    assert verified_claims(signed({"kid": OLD[0]}, key=OLD[1]))

    for header, key in (({"kid": NEW[0]}, OLD[1]), ({}, NEW[1]), ({}, project_settings.SECRET_KEY)):
        with pytest.raises(TokenInvalid):
            verified_claims(signed(header, key=key))


def test_keys_are_rotated_without_ending_any_sign_in(settings):
    """The steps of docs/sign-in.md, each while processes of the previous step still run."""
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
