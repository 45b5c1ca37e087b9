"""Refresh tokens are good for one use; access tokens speak for nobody else."""

import threading
from datetime import timedelta

import jwt
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken

from shop import tokens
from shop.tests.clients import client_of
from shop.tests.factories import PASSWORD, AccountFactory
from shop.tests.racing import race
from shop.tokens import Pair, TokenInvalid


def forged(**changes: object) -> str:
    """A token that differs from a good access token only in what is given."""
    key = str(changes.pop("key", settings.SECRET_KEY))
    algorithm = str(changes.pop("algorithm", "HS256"))
    claims = jwt.decode(tokens.access_for(User(pk=1)), options={"verify_signature": False})
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, "" if algorithm == "none" else key, algorithm=algorithm)


def test_an_access_token_tells_the_account_and_a_hint_of_staff() -> None:
    account = tokens.read_access(tokens.access_for(User(pk=7, is_staff=True)))

    assert (account.id, account.is_staff, account.is_authenticated) == (7, True, True)
    with pytest.raises(AttributeError):
        account.id = 8  # type: ignore[misc]


def test_an_access_token_is_good_for_a_quarter_of_an_hour_unless_told_otherwise() -> None:
    def lifetime(raw: str) -> int:
        claims = jwt.decode(raw, options={"verify_signature": False})
        return int(claims["exp"] - claims["iat"])

    assert lifetime(tokens.access_for(User(pk=7))) == 15 * 60
    assert lifetime(tokens.access_for(User(pk=7), lifetime=timedelta(hours=24))) == 24 * 3600


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "word",
        "a.b.c",
        "\x00",
        "é.é.é",
        tokens.access_for(User(pk=1), lifetime=timedelta(seconds=-1)),
        tokens.access_for(User(pk=1))[:-2],
        tokens.pair_for(User(pk=1)).refresh,
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
        tokens.read_access(raw)


@pytest.mark.django_db
def test_a_refresh_token_is_good_for_one_use() -> None:
    account = AccountFactory()
    refresh = tokens.pair_for(account).refresh

    first = client_of().post("/auth/refresh", {"refresh": refresh})
    again = client_of().post("/auth/refresh", {"refresh": refresh})

    assert first.status_code == 200
    assert tokens.read_access(first.json()["access"]).id == account.pk
    assert again.status_code == 401
    assert again.json()["code"] == "token_invalid"
    assert client_of().post("/auth/refresh", {"refresh": first.json()["refresh"]}).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_ten_who_use_a_refresh_token_at_once_one_succeeds() -> None:
    refresh = tokens.pair_for(AccountFactory()).refresh

    outcomes = race([lambda: tokens.rotate(refresh)] * 10)

    assert sum(isinstance(outcome, Pair) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, TokenInvalid) for outcome in outcomes) == 9
    assert BlacklistedToken.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_looking_at_the_blacklist_first_lets_several_succeed() -> None:
    """The naive twin: simplejwt's own order, a look and then an insert that minds no other."""
    raw = tokens.pair_for(AccountFactory()).refresh
    looked = threading.Barrier(4, timeout=30)

    def rotate_naively() -> Pair:
        token = RefreshToken(raw)
        looked.wait()
        token.blacklist()
        return tokens.pair_for(User.objects.get(pk=token["user_id"]))

    outcomes = race([rotate_naively] * 4)

    assert sum(isinstance(outcome, Pair) for outcome in outcomes) > 1


@pytest.mark.django_db
@pytest.mark.parametrize("fate", ["disabled", "gone"])
def test_the_refresh_token_of_an_account_that_ended_is_refused(fate: str) -> None:
    account = AccountFactory()
    refresh = tokens.pair_for(account).refresh
    if fate == "disabled":
        User.objects.filter(pk=account.pk).update(is_active=False)
    else:
        User.objects.filter(pk=account.pk).delete()

    refused = client_of().post("/auth/refresh", {"refresh": refresh})

    assert refused.status_code == 401
    assert refused.json()["code"] == "token_invalid"


@pytest.mark.django_db
def test_an_access_token_refreshes_nothing() -> None:
    refused = client_of().post("/auth/refresh", {"refresh": tokens.access_for(AccountFactory())})

    assert refused.json()["code"] == "token_invalid"


@pytest.mark.django_db
def test_signing_out_ends_the_refresh_token_and_may_be_repeated() -> None:
    account = AccountFactory()
    refresh = tokens.pair_for(account).refresh
    api = client_of(account)

    assert api.post("/auth/logout", {"refresh": refresh}).status_code == 204
    assert api.post("/auth/logout", {"refresh": refresh}).status_code == 204
    assert client_of().post("/auth/refresh", {"refresh": refresh}).json()["code"] == "token_invalid"


@pytest.mark.django_db
def test_nobody_signs_somebody_else_out() -> None:
    refresh = tokens.pair_for(AccountFactory()).refresh

    refused = client_of(AccountFactory()).post("/auth/logout", {"refresh": refresh})

    assert refused.status_code == 401
    assert client_of().post("/auth/refresh", {"refresh": refresh}).status_code == 200


@pytest.mark.django_db
def test_signing_in_writes_nothing() -> None:
    account = AccountFactory()

    client_of().post("/auth/token", {"username": account.username, "password": PASSWORD})

    assert not OutstandingToken.objects.exists()
    assert User.objects.get(pk=account.pk).last_login is None


@pytest.mark.django_db
def test_used_refresh_tokens_are_forgotten_once_they_have_expired() -> None:
    account = AccountFactory()
    for _ in range(3):
        tokens.rotate(tokens.pair_for(account).refresh)
    old = OutstandingToken.objects.order_by("pk")[:2].values_list("pk", flat=True)
    OutstandingToken.objects.filter(pk__in=list(old)).update(expires_at=timezone.now())

    assert tokens.sweep() == 2
    assert tokens.sweep() == 0
    assert BlacklistedToken.objects.count() == OutstandingToken.objects.count() == 1


@pytest.mark.django_db
def test_expired_refresh_tokens_are_found_by_an_index() -> None:
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, OutstandingToken._meta.db_table)

    assert constraints["shop_outstandingtoken_expired"]["columns"] == ["expires_at"]
