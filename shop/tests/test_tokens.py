"""Refresh tokens are valid for one use, and end with their sign-in; access tokens identify one account."""

import threading
from datetime import timedelta

import jwt
import pytest
from django.conf import LazySettings, settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.utils import timezone

from shop import clock
from shop.accounts import authentication, tokens
from shop.accounts.authentication import TokenInvalid
from shop.accounts.tokens import REUSE_GRACE, TokenPair
from shop.configuration import Rate
from shop.models import JournalLine, RevokedToken
from shop.tests.clients import client_of
from shop.tests.factories import PASSWORD, AccountFactory
from shop.tests.racing import race

LATER = REUSE_GRACE + timedelta(seconds=1)


def refreshed(refresh: str) -> str | None:
    answer = client_of().post("/auth/refresh", {"refresh": refresh})
    if answer.status_code == 200:
        return str(answer.json()["refresh"])
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    return None


def forged(**changes: object) -> str:
    """A token that differs from a valid access token only in the given claims."""
    key = str(changes.pop("key", settings.SECRET_KEY))
    algorithm = str(changes.pop("algorithm", "HS256"))
    claims = jwt.decode(tokens.create_access_token(User(pk=1)), options={"verify_signature": False})
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, "" if algorithm == "none" else key, algorithm=algorithm)


def test_an_access_token_has_the_account_and_a_hint_of_staff() -> None:
    account = authentication.verify_access_token(tokens.create_access_token(User(pk=7, is_staff=True)))

    assert (account.id, account.is_staff, account.is_authenticated) == (7, True, True)
    with pytest.raises(AttributeError):
        account.id = 8  # type: ignore[misc]


def test_an_access_token_is_valid_for_a_quarter_of_an_hour_by_default() -> None:
    def lifetime(raw: str) -> int:
        claims = jwt.decode(raw, options={"verify_signature": False})
        return int(claims["exp"] - claims["iat"])

    assert lifetime(tokens.create_access_token(User(pk=7))) == 15 * 60
    assert lifetime(tokens.create_access_token(User(pk=7), lifetime=timedelta(hours=24))) == 24 * 3600


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "word",
        "a.b.c",
        "\x00",
        "é.é.é",
        tokens.create_access_token(User(pk=1), lifetime=timedelta(seconds=-1)),
        tokens.create_access_token(User(pk=1))[:-2],
        forged(token_type="refresh"),
        forged(key="k" * 64),
        forged(algorithm="none"),
        forged(algorithm="HS512"),
        forged(user_id=None),
        forged(user_id="seven"),
        forged(exp=None),
        forged(token_type=None),
        forged(jti=None),
    ],
)
def test_anything_else_is_no_access_token(raw: str) -> None:
    with pytest.raises(TokenInvalid):
        authentication.verify_access_token(raw)


@pytest.mark.django_db
def test_a_refresh_token_is_good_for_one_use() -> None:
    account = AccountFactory()
    refresh = tokens.create_token_pair(account).refresh

    first = client_of().post("/auth/refresh", {"refresh": refresh})

    assert first.status_code == 200
    assert authentication.verify_access_token(first.json()["access"]).id == account.pk
    assert refreshed(refresh) is None
    assert refreshed(first.json()["refresh"])


@pytest.mark.django_db(transaction=True)
def test_of_ten_simultaneous_uses_of_a_refresh_token_one_succeeds() -> None:
    refresh = tokens.create_token_pair(AccountFactory()).refresh

    outcomes = race([lambda: tokens.rotate(refresh)] * 10)

    assert sum(isinstance(outcome, TokenPair) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, TokenInvalid) for outcome in outcomes) == 9
    assert RevokedToken.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_reading_the_blacklist_first_lets_several_succeed() -> None:
    """The control case: a read, and then a write that the key does not judge."""
    account = AccountFactory()
    claims = authentication.verified_claims(tokens.create_token_pair(account).refresh)
    all_have_read = threading.Barrier(4, timeout=30)

    def rotate_naively() -> TokenPair:
        assert not RevokedToken.objects.filter(id=claims["jti"]).exists()
        all_have_read.wait()
        tokens._mark_used(claims)
        return tokens.create_token_pair(account)

    outcomes = race([rotate_naively] * 4)

    assert sum(isinstance(outcome, TokenPair) for outcome in outcomes) > 1


@pytest.mark.django_db
@pytest.mark.parametrize("fate", ["disabled", "gone"])
def test_the_refresh_token_of_an_account_that_ended_is_refused(fate: str) -> None:
    account = AccountFactory()
    refresh = tokens.create_token_pair(account).refresh
    if fate == "disabled":
        User.objects.filter(pk=account.pk).update(is_active=False)
    else:
        User.objects.filter(pk=account.pk).delete()

    assert refreshed(refresh) is None


@pytest.mark.django_db
def test_a_refresh_token_does_not_outlive_a_change_of_the_password() -> None:
    account = AccountFactory()
    refresh = tokens.create_token_pair(account).refresh
    account.set_password(PASSWORD + "8")
    account.save()

    assert refreshed(refresh) is None
    assert refreshed(tokens.create_token_pair(account).refresh)


@pytest.mark.django_db
def test_a_sign_in_that_renews_the_passwords_hash_gives_a_good_refresh_token(settings: LazySettings) -> None:
    account = AccountFactory(password=make_password(PASSWORD))
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.ScryptPasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]

    pair = client_of().post("/auth/token", {"username": account.username, "password": PASSWORD}).json()

    assert User.objects.get(pk=account.pk).password.startswith("scrypt")
    assert refreshed(pair["refresh"])


@pytest.mark.django_db
def test_the_next_account_with_a_number_that_a_failover_assigned_twice_is_not_taken_over() -> None:
    lost = AccountFactory()
    refresh = tokens.create_token_pair(lost).refresh
    number = lost.pk
    lost.delete()
    following = AccountFactory(pk=number, username="another-account", password=make_password(PASSWORD))

    assert refreshed(refresh) is None
    assert refreshed(tokens.create_token_pair(following).refresh)


@pytest.mark.django_db
def test_a_stolen_refresh_token_that_was_rotated_does_not_go_on_for_ever() -> None:
    account = AccountFactory()
    stolen = tokens.create_token_pair(account).refresh
    of_the_thief = refreshed(stolen)
    assert of_the_thief

    with clock.shifted(by=LATER):
        assert refreshed(stolen) is None
        assert refreshed(of_the_thief) is None
        assert refreshed(stolen) is None

    line = JournalLine.objects.get(what="account.refresh_token_reused")
    assert (line.subject, line.is_internal) == (f"account {account.pk}", True)


@pytest.mark.django_db
def test_a_thief_who_comes_second_ends_the_sign_in_as_well() -> None:
    stolen = tokens.create_token_pair(AccountFactory()).refresh
    first = refreshed(stolen)
    assert first
    second = refreshed(first)
    assert second

    with clock.shifted(by=LATER):
        assert refreshed(stolen) is None
        assert refreshed(second) is None


@pytest.mark.django_db
def test_a_client_that_repeats_at_once_does_not_end_its_sign_in() -> None:
    refresh = tokens.create_token_pair(AccountFactory()).refresh
    following = refreshed(refresh)
    assert following

    assert refreshed(refresh) is None
    assert refreshed(following)
    assert not JournalLine.objects.exists()


@pytest.mark.django_db
def test_other_sign_ins_of_the_account_go_on() -> None:
    account = AccountFactory()
    stolen, other = tokens.create_token_pair(account).refresh, tokens.create_token_pair(account).refresh
    assert refreshed(stolen)

    with clock.shifted(by=LATER):
        assert refreshed(stolen) is None
        assert refreshed(other)


@pytest.mark.django_db
def test_an_access_token_refreshes_nothing() -> None:
    assert refreshed(tokens.create_access_token(AccountFactory())) is None


@pytest.mark.django_db
def test_signing_out_ends_the_refresh_token_and_may_be_repeated() -> None:
    account = AccountFactory()
    refresh = tokens.create_token_pair(account).refresh
    api = client_of(account)

    assert api.post("/auth/logout", {"refresh": refresh}).status_code == 204
    assert api.post("/auth/logout", {"refresh": refresh}).status_code == 204
    assert client_of().post("/auth/refresh", {"refresh": refresh}).json()["code"] == "token_invalid"


@pytest.mark.django_db
def test_signing_out_ends_what_followed_from_the_token() -> None:
    account = AccountFactory()
    copied = tokens.create_token_pair(account).refresh
    of_the_thief = refreshed(copied)
    assert of_the_thief

    assert client_of(account).post("/auth/logout", {"refresh": copied}).status_code == 204

    assert refreshed(of_the_thief) is None


@pytest.mark.django_db
def test_an_access_token_that_names_an_account_alone_is_good_until_it_expires() -> None:
    account = AccountFactory()

    access = forged(token_type="access", user_id=str(account.pk), key=settings.SECRET_KEY)

    assert authentication.verify_access_token(access).id == account.pk


@pytest.mark.django_db
def test_a_refresh_token_without_a_family_or_a_credential_is_refused() -> None:
    account = AccountFactory()
    refresh = forged(token_type="refresh", user_id=str(account.pk), key=settings.SECRET_KEY)

    assert refreshed(refresh) is None
    assert client_of(account).post("/auth/logout", {"refresh": refresh}).status_code == 401


@pytest.mark.django_db
def test_an_account_refreshes_so_often_a_minute_and_a_token_refused_for_that_is_still_good(
    settings: LazySettings,
) -> None:
    settings.RATE_REFRESHES = Rate(3, 60)
    account = AccountFactory()
    refresh = tokens.create_token_pair(account).refresh
    for _ in range(3):
        following = refreshed(refresh)
        assert following
        refresh = following
    rows = RevokedToken.objects.count()

    for again in (refresh, tokens.create_token_pair(account).refresh):
        refused = client_of().post("/auth/refresh", {"refresh": again})
        assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
        assert 1 <= int(refused["Retry-After"]) <= 60
    assert RevokedToken.objects.count() == rows
    assert refreshed(tokens.create_token_pair(AccountFactory()).refresh), "of another account"
    with clock.shifted(by=timedelta(seconds=61)):
        assert refreshed(refresh)


@pytest.mark.django_db
def test_a_forged_refresh_token_does_not_count_towards_the_accounts_limit(settings: LazySettings) -> None:
    settings.RATE_REFRESHES = Rate(1, 60)
    account = AccountFactory()
    for _ in range(3):
        assert refreshed(forged(token_type="refresh", user_id=str(account.pk), key="k" * 64)) is None

    assert refreshed(tokens.create_token_pair(account).refresh)


@pytest.mark.django_db
def test_an_account_can_not_sign_another_account_out() -> None:
    refresh = tokens.create_token_pair(AccountFactory()).refresh

    refused = client_of(AccountFactory()).post("/auth/logout", {"refresh": refresh})

    assert refused.status_code == 401
    assert client_of().post("/auth/refresh", {"refresh": refresh}).status_code == 200


@pytest.mark.django_db
def test_signing_in_writes_nothing() -> None:
    account = AccountFactory()

    client_of().post("/auth/token", {"username": account.username, "password": PASSWORD})

    assert not RevokedToken.objects.exists()
    assert User.objects.get(pk=account.pk).last_login is None


@pytest.mark.django_db
def test_used_refresh_tokens_are_deleted_once_they_have_expired() -> None:
    account = AccountFactory()
    for _ in range(3):
        tokens.rotate(tokens.create_token_pair(account).refresh)
    old = RevokedToken.objects.order_by("pk")[:2].values_list("pk", flat=True)
    RevokedToken.objects.filter(pk__in=list(old)).update(expires_at=timezone.now())

    assert tokens.delete_expired_tokens() == 2
    assert tokens.delete_expired_tokens() == 0
    assert RevokedToken.objects.count() == 1
