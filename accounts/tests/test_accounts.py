"""Accounts: registration and sign-in over HTTP, and what the journal has of operators who change accounts."""

from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from accounts import accounts
from accounts.accounts import InvalidCredentials
from accounts.signing_in import sign_ins
from accounts.tests.api_keys import KeyApi, make
from accounts.tests.clients import client_of, faults, signed_in
from accounts.tokens import sign_outs
from foundation.errors import Invalid
from foundation.models import JournalLine
from foundation.redis import redis_client as shop_redis
from foundation.tests import process_state
from foundation.tests.factories import PASSWORD, AccountFactory, SuperuserFactory, set_columns, staff_member
from foundation.tests.racing import race
from foundation.tests.user_pages import filled_in, page_of

pytestmark = pytest.mark.django_db
NEW_PASSWORD = PASSWORD + "8"


def recorded() -> list[tuple[str, str, Any, Any]]:
    lines = JournalLine.objects.exclude(what="account.signed_in").order_by("id")
    return [(line.what, line.subject, line.before, line.after) for line in lines]


@pytest.fixture
def operator():
    return SuperuserFactory(username="olga")


def test_a_change_of_an_account_is_recorded_with_its_actor_and_old_values(operator):
    ada = AccountFactory(username="ada", email="ada@example.com")
    group = Group.objects.create(name="warehouse")
    client = signed_in(operator)
    assert client.post(page_of(ada), filled_in(client.get(page_of(ada)))).status_code == 302
    assert recorded() == [], "nothing was changed"

    client.post(
        page_of(ada),
        filled_in(client.get(page_of(ada)), email="new@example.com", is_staff="on", groups=[group.pk]),
    )

    line = JournalLine.objects.get()
    assert (line.what, line.subject, line.is_internal) == ("account.changed", f"account {ada.pk}", True)
    assert line.before == {"email": "ada@example.com", "is_staff": False, "groups": []}
    assert line.after == {"email": "new@example.com", "is_staff": True, "groups": ["warehouse"]}
    assert (line.actor, line.actor_id, line.actor_name) == ("staff", operator.pk, "olga")


def test_staff_with_the_right_and_their_keys_read_an_account_and_since_when_it_is_disabled():
    ada = AccountFactory(username="ada", email="ada@example.com")
    reader = staff_member("auth.view_user")
    path = f"/users/{ada.pk}"
    key, other = make("accounts:read", maker=reader), make("orders:read", maker=reader)

    shown = client_of(reader).read(path)

    assert shown == {
        "id": ada.pk,
        "username": "ada",
        "email": "ada@example.com",
        "external_id": None,
        "created_at": shown["created_at"],
        "disabled_at": None,
    }
    assert datetime.fromisoformat(shown["created_at"]) == ada.date_joined
    assert KeyApi(key.secret).read(path) == shown
    assert KeyApi(other.secret).get(path).json()["scope"] == "accounts:read"
    assert client_of(reader).get("/users/999999999").status_code == 404
    for refused in (ada, staff_member()):
        assert client_of(refused).get(path).json()["code"] == "permission_denied"
        assert client_of(refused).get("/users/999999999").json()["code"] == "permission_denied"

    accounts.disable(account_ids=[ada.pk], reason="Asked for it.")
    ended = JournalLine.objects.get(subject=f"account {ada.pk}").at
    assert datetime.fromisoformat(client_of(reader).read(path)["disabled_at"]) == ended
    sign_outs.enable(account_id=ada.pk)
    assert client_of(reader).read(path) == shown
    set_columns(ada, is_active=False)
    JournalLine.objects.all().delete()
    assert client_of(reader).read(path)["disabled_at"] == shown["created_at"]


def test_creating_an_account_and_setting_its_password_is_recorded_without_the_password(operator):
    client = signed_in(operator)
    client.post(reverse("admin:auth_user_add"), {"username": "ada"} | passwords(PASSWORD))
    ada = User.objects.get(username="ada")

    client.post(reverse("admin:auth_user_password_change", args=[ada.pk]), passwords(NEW_PASSWORD))

    assert recorded() == [
        ("account.created", f"account {ada.pk}", None, {"username": "ada"}),
        ("account.password_changed", f"account {ada.pk}", None, {"has_password": True}),
    ]
    ada.refresh_from_db()
    assert ada.check_password(NEW_PASSWORD)
    assert not [line for line in JournalLine.objects.values() if PASSWORD in str(line)]


def test_an_operators_change_of_the_own_password_is_recorded(operator):
    client = signed_in(operator)
    assert client.get(reverse("admin:password_change")).status_code == 200

    changed = own_password(client, old=PASSWORD)

    assert changed.status_code == 302 and changed["Location"] == reverse("admin:password_change_done")
    operator.refresh_from_db()
    assert operator.check_password(NEW_PASSWORD)
    assert recorded() == [
        ("account.password_changed", f"account {operator.pk}", None, {"has_password": True})
    ]
    assert client.get(reverse("admin:index")).status_code == 200


def test_a_change_of_a_groups_permissions_is_recorded_with_its_actor(operator):
    member = AccountFactory()
    right = Permission.objects.get(codename="view_product")
    client = signed_in(operator)
    client.post(reverse("admin:auth_group_add"), {"name": "stores"})
    group = Group.objects.get(name="stores")
    member.groups.add(group)
    client.post(
        reverse("admin:auth_group_change", args=[group.pk]),
        {"name": "stores", "permissions": [right.pk], "reason": "They pack now."},
    )
    client.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})

    subject = f"group {group.pk}"
    assert recorded() == [
        ("group.created", subject, None, {"name": "stores"}),
        ("group.changed", subject, {"permissions": []}, {"permissions": [str(right)]}),
        (
            "group.deleted",
            subject,
            {"name": "stores", "permissions": [str(right)], "members": [member.pk]},
            None,
        ),
    ]
    assert not Group.objects.filter(pk=group.pk).exists()


def test_ten_wrong_old_passwords_a_minute_are_allowed_and_recorded(operator):
    client = signed_in(operator)

    pages = [own_password(client, old="wrong") for _ in range(10)]
    refused = own_password(client, old=PASSWORD)

    assert all(b"entered incorrectly" in page.content for page in pages)
    assert b"Too many attempts" in refused.content
    operator.refresh_from_db()
    assert operator.check_password(PASSWORD)
    lines = list(JournalLine.objects.all())
    assert {(line.what, line.subject, line.is_internal) for line in lines} == {
        ("account.old_password_wrong", f"account {operator.pk}", True)
    }
    assert {(line.actor, line.actor_id, len(lines)) for line in lines} == {("staff", operator.pk, 10)}
    assert lines[0].after == {"address": "127.0.0.1", "failures_without_a_line": 0}


def test_wrong_old_passwords_do_not_fill_the_journal(operator):
    client = signed_in(operator)
    for _ in range(3):
        process_state.forget_attempts()
        for _ in range(10):
            with pytest.raises(InvalidCredentials):
                sign_ins.check_own_password(account=operator, password="wrong", address="192.0.2.1")
        shop_redis.attempt(lambda redis: redis.delete(*redis.keys("*own-password*")), otherwise=None)

    assert own_password(client, old="wrong").status_code == 200
    assert JournalLine.objects.count() == 20


def passwords(new: str) -> dict[str, str]:
    """The fields of a form that sets a password."""
    return {"password1": new, "password2": new, "usable_password": "true"}


def own_password(client, *, old: str):
    sent = {"old_password": old, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    return client.post(reverse("admin:password_change"), sent)


NEW = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}


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

    refused = client_of().post("/users", NEW | {field: value})

    assert set(faults(refused)) == {(field, code)}
    assert User.objects.get().username == "taken"


def test_of_five_concurrent_registrations_of_one_name_one_succeeds(transactional_db):
    def register():
        return accounts.register(username="ada", email="ada@example.com", password=PASSWORD)

    outcomes = race([register] * 5)

    assert User.objects.filter(username="ada").count() == 1
    refused = [outcome for outcome in outcomes if isinstance(outcome, Invalid)]
    assert len(refused) == 4
    assert {error.extra["errors"][0]["code"] for error in refused} == {"taken"}


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ada", "wrong"),
        ("unknown", "wrong"),
        ("unknown", PASSWORD),
        ("disabled", "wrong"),
        ("disabled", PASSWORD),
    ],
)
def test_wrong_credentials_are_hashed_once_and_get_the_same_response_whatever_is_wrong(
    username, password, monkeypatch
):
    AccountFactory(username="ada")
    AccountFactory(username="disabled", is_active=False)
    hashed, encode = [], MD5PasswordHasher.encode

    def counted(self, password, salt):
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)

    refused = client_of().post("/auth/token", {"username": username, "password": password})

    assert refused.status_code == 401
    assert refused.json()["code"] == "invalid_credentials"
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert hashed == [password]


def test_a_name_is_the_same_however_its_letters_are_encoded():
    wide = "\N{FULLWIDTH LATIN SMALL LETTER A}da"
    assert client_of().post("/users", NEW | {"username": wide}).json()["username"] == "ada"
    for name in (wide, "ada"):
        assert client_of().post("/auth/token", {"username": name, "password": PASSWORD}).status_code == 200


@pytest.mark.parametrize("email", ['"kim,min"@example.com', '"<b>"@example.com', '""@example.com'])
def test_an_email_with_a_quoted_name_is_refused(email):
    given = {"username": "kim", "email": email, "password": NEW_PASSWORD}
    answer = client_of().post("/users", given)
    assert faults(answer) == [("email", "invalid")]
    assert not User.objects.exists()
