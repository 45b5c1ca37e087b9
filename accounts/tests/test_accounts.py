"""Accounts over HTTP: registration, sign-in, and the caller's own account."""

from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User

from accounts import accounts
from shop.errors import Invalid
from shop.tests.clients import client_of
from shop.tests.factories import PASSWORD, AccountFactory
from shop.tests.racing import race

pytestmark = pytest.mark.django_db

NEW = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}


def codes(response: Any) -> set[tuple[str, str]]:
    assert response.status_code == 400, response.content
    assert response.json()["code"] == "invalid"
    return {(error["field"], error["code"]) for error in response.json()["errors"]}


def test_a_registered_account_can_sign_in_whatever_token_it_sends():
    made = client_of().post("/users", NEW)

    assert made.status_code == 201
    user = User.objects.get(username="ada")
    assert made.json() == {"id": user.pk, "username": "ada", "email": "ada@example.com"}
    assert not user.is_staff and not user.is_superuser
    given = {"username": "ada", "password": PASSWORD}
    signed_in = client_of().post("/auth/token", given, Authorization="Bearer of.old.news")
    assert signed_in.status_code == 200
    assert signed_in.json().keys() == {"access", "refresh"}


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("password", "kI3-x", "password_too_short"),
        ("password", "password1", "password_too_common"),
        ("password", "82650193475", "password_entirely_numeric"),
        ("password", "ada@example.com", "password_too_similar"),
        *((field, True, "unknown_field") for field in ("is_staff", "is_superuser", "id", "is_active")),
        ("username", "taken", "taken"),
    ],
)
def test_a_registration_that_is_refused_names_its_field_and_creates_nothing(field, value, code):
    AccountFactory(username="taken")

    assert codes(client_of().post("/users", NEW | {field: value})) == {(field, code)}
    assert User.objects.get().username == "taken"


@pytest.mark.django_db(transaction=True)
def test_of_five_concurrent_registrations_of_one_name_one_succeeds():
    def register() -> User:
        return accounts.register(username="ada", email="ada@example.com", password=PASSWORD)

    outcomes = race([register] * 5)

    assert User.objects.filter(username="ada").count() == 1
    refused = [outcome for outcome in outcomes if isinstance(outcome, Invalid)]
    assert len(refused) == 4
    assert {error.extra["errors"][0]["code"] for error in refused} == {"taken"}


@pytest.mark.parametrize(
    ("username", "password"), [("ada", "wrong"), ("unknown", PASSWORD), ("disabled", PASSWORD)]
)
def test_wrong_credentials_get_the_same_response_whatever_is_wrong(username, password):
    AccountFactory(username="ada")
    AccountFactory(username="disabled", is_active=False)

    refused = client_of().post("/auth/token", {"username": username, "password": password})

    assert refused.status_code == 401
    assert refused.json()["code"] == "invalid_credentials"
    assert refused.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("username", ["ada", "unknown", "disabled"])
def test_a_sign_in_hashes_once_for_known_and_unknown_names(username, monkeypatch):
    AccountFactory(username="ada")
    AccountFactory(username="disabled", is_active=False)
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(self: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)

    client_of().post("/auth/token", {"username": username, "password": "wrong"})

    assert hashed == ["wrong"]


def test_a_name_is_the_same_however_its_letters_are_encoded():
    wide = "\N{FULLWIDTH LATIN SMALL LETTER A}da"
    made = client_of().post("/users", NEW | {"username": wide})

    assert made.json()["username"] == "ada"
    for name in (wide, "ada"):
        assert client_of().post("/auth/token", {"username": name, "password": PASSWORD}).status_code == 200
