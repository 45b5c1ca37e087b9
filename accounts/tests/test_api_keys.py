"""API keys: making, rotating and revoking them, over HTTP and on the pages of operators."""

import re
import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse

from accounts.api_keys import key_memory, keys
from accounts.models import ApiKey, ApiKeySecret
from accounts.tests import api_keys
from accounts.tests.api_keys import KeyApi
from accounts.tests.clients import client_of, faults, new_superuser, signed_in
from foundation import clock, scopes
from foundation.account import TokenInvalid
from foundation.errors import NotAllowed, Rejected
from foundation.models import IdempotencyKey, JournalLine
from foundation.tests.case_tables import in_one_test
from foundation.tests.confirming import confirmed
from foundation.tests.factories import AccountFactory, SuperuserFactory, set_columns, staff_member
from foundation.tests.journal_lines import journal_line
from foundation.tests.racing import race

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
MAKING = ["accounts.add_apikey", "accounts.view_apikey", "accounts.change_apikey"]


def rotate(new: keys.NewSecret, **more: str) -> keys.NewSecret:
    return keys.rotate(key_id=new.key.pk, account_id=new.key.maker_id, **more)


def is_accepted(secret: str) -> bool:
    """Whether a process that reads the keys now takes the secret."""
    key_memory.CACHED.forget()
    key_memory.CACHED.get()
    try:
        key_memory.verify(secret)
    except TokenInvalid:
        return False
    return True


class TestOverHttp:
    def test_a_key_is_made_listed_rotated_and_revoked(self):
        staff = staff_member(*MAKING)
        api = client_of(staff)

        made = api.post("/api-keys", {"name": "till", "scopes": ["orders:read", "coupons:write"]})

        assert made.status_code == 201
        body = made.json()
        assert set(body) == {"id", "name", "prefix", "scopes", "secret"}
        assert body["secret"].startswith(body["prefix"] + "_") and body["prefix"].startswith("fc_key_")
        assert body["scopes"] == ["orders:read", "coupons:write"]
        assert made.headers["Location"] == f"/api/v1/api-keys/{body['id']}"
        assert made.headers["Cache-Control"] == "no-store"
        [listed] = api.rows("/api-keys")
        assert (listed["id"], listed["made_by"], listed["expires_at"]) == (body["id"], staff.pk, None)
        assert body["secret"] not in str(listed)

        rotated = api.post(f"/api-keys/{body['id']}/rotate")

        assert rotated.status_code == 200
        assert set(rotated.json()) == set(body) and rotated.json()["prefix"] == body["prefix"]
        assert is_accepted(body["secret"]) and is_accepted(rotated.json()["secret"])

        assert [api.delete(f"/api-keys/{body['id']}").status_code for _ in "12"] == [204, 204]

        assert not is_accepted(rotated.json()["secret"])
        assert api.rows("/api-keys") == []
        assert api.post(f"/api-keys/{body['id']}/rotate").json()["code"] == "api_key_revoked"
        unknown = f"/api-keys/{body['id'] + 77}"
        assert (api.post(f"{unknown}/rotate").status_code, api.delete(unknown).status_code) == (404, 404)

    @pytest.mark.parametrize(
        ("body", "field", "code"),
        [
            ({"scopes": ["orders:read"]}, "name", "required"),
            ({"name": "n" * 101, "scopes": ["orders:read"]}, "name", "too_long"),
            ({"name": "till", "scopes": []}, "scopes", "too_short"),
            ({"name": "till", "scopes": ["orders:delete"]}, "scopes.0", "unknown_scope"),
            ({"name": "till", "scopes": ["act", "act"]}, "scopes", "repeated"),
            (
                {"name": "till", "scopes": ["act"], "expires_at": "2020-01-01T00:00:00Z"},
                "expires_at",
                "in_the_past",
            ),
            ({"name": "till", "scopes": ["act"], "secret": "fc_key_mine"}, "secret", "unknown_field"),
        ],
    )
    def test_what_is_not_valid_is_named(self, body, field, code):
        refused = new_superuser().post("/api-keys", body)

        assert faults(refused) == [(field, code)]
        assert not ApiKey.objects.exists()


class TestKeys:
    def test_the_secret_is_kept_as_a_hash_alone_and_the_journal_has_the_scopes_and_reasons(self):
        new = api_keys.make("orders:read")
        random_part = new.secret.removeprefix(new.key.prefix + "_")

        everything = str(
            [*ApiKey.objects.values(), *ApiKeySecret.objects.values(), *JournalLine.objects.values()]
        )

        assert len(random_part) >= 43
        assert new.secret not in everything and random_part not in everything
        assert keys.hash_of(new.secret) in everything
        rotate(new, reason="A laptop was lost.")
        keys.revoke(key_id=new.key.pk, reason="The partner has left.")
        keys.revoke(key_id=new.key.pk, reason="Again.")
        lines = JournalLine.objects.filter(subject=f"api key {new.key.pk}").order_by("id")
        assert [(line.what, line.detail) for line in lines] == [
            ("api_key.created", ""),
            ("api_key.rotated", "A laptop was lost."),
            ("api_key.revoked", "The partner has left."),
        ]
        assert lines[0].after == {
            "prefix": new.key.prefix,
            "maker": new.key.maker_id,
            "name": "warehouse",
            "scopes": ["orders:read"],
            "expires_at": None,
        }

    def test_rotation_keeps_every_former_secret_for_24_hours(self):
        new = api_keys.make("orders:read")
        second = rotate(new)
        third = rotate(new)
        every = [one.secret for one in (new, second, third)]

        assert [is_accepted(secret) for secret in every] == [True, True, True]
        with clock.shifted(by=DAY - SECOND):
            assert [is_accepted(secret) for secret in every] == [True, True, True]
        with clock.shifted(by=DAY + SECOND):
            assert [is_accepted(secret) for secret in every] == [False, False, True]
            rotate(new)
        assert new.key.secrets.count() == 2, "those that have ended are deleted"

    def test_a_secret_ends_on_time_also_where_it_is_remembered_and_its_key_is_not_rotated(self):
        new = api_keys.make("orders:read", expires_at=clock.now() + DAY)
        assert is_accepted(new.secret)

        with clock.shifted(by=DAY + SECOND):
            with pytest.raises(TokenInvalid):
                key_memory.verify(new.secret)
            with pytest.raises(Rejected, match="expired") as refused:
                rotate(new)

        assert refused.value.code == "api_key_expired"

    def test_a_key_has_ten_secrets_at_most(self):
        new = api_keys.make("orders:read")
        for _ in range(keys.SECRETS_PER_KEY - 1):
            rotate(new)

        with pytest.raises(Rejected) as refused:
            rotate(new)

        assert refused.value.code == "too_many_secrets"
        assert refused.value.retry_after and 86_390 < refused.value.retry_after <= 86_401

    def test_only_active_staff_make_keys_and_acting_for_accounts_needs_a_right_of_its_own(self):
        for maker, scope in (
            (AccountFactory(), "orders:read"),
            (staff_member(is_active=False), "orders:read"),
            (staff_member(*MAKING), scopes.ACT),
        ):
            with pytest.raises(NotAllowed):
                api_keys.make(scope, maker=maker)


@in_one_test(
    ("law", "write"),
    [
        ("one_current", lambda key: key.secrets.create(is_current=True, created_at=clock.now())),
        ("former_ones_end", lambda key: key.secrets.update(is_current=None)),
        ("former_ones_end", lambda key: key.secrets.update(is_current=False)),
        ("former_ones_end", lambda key: key.secrets.update(valid_until=clock.now() + DAY)),
        (
            "secret_hash",
            lambda key: api_keys.make("act").key.secrets.update(secret_hash=key.secrets.get().secret_hash),
        ),
        ("expires_after", lambda key: ApiKey.objects.update(expires_at=key.created_at)),
    ],
)
def test_the_database_refuses(law, write):
    key = api_keys.make("orders:read").key
    with pytest.raises(IntegrityError, match=law), transaction.atomic():
        write(key)


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_of_rotations_at_once_each_returned_secret_is_valid_and_one_is_current(self):
        new = api_keys.make("orders:read")

        outcomes = race([lambda: rotate(new)] * 8)

        secrets = [outcome.secret for outcome in outcomes]
        assert all(is_accepted(secret) for secret in [new.secret, *secrets])
        assert new.key.secrets.filter(is_current=True).count() == 1
        assert new.key.secrets.count() == 9

    def test_the_naive_rotation_loses_the_same_race_to_the_constraint(self):
        key, all_have_read = api_keys.make("orders:read").key, threading.Barrier(8)

        def rotate_without_lock() -> None:
            """Reads the current secret, and then replaces it."""
            current = key.secrets.get(is_current=True)
            all_have_read.wait(10)
            now = clock.now()
            hashed = keys.hash_of(f"{key.prefix}_naive-{current.pk}-{now.timestamp()}")
            until = now + keys.FORMER_SECRET_VALID
            set_columns(current, is_current=None, valid_until=until)
            ApiKeySecret.objects.create(key=key, secret_hash=hashed, is_current=True, created_at=now)

        outcomes = race([rotate_without_lock] * 8)

        assert [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert key.secrets.filter(is_current=True).count() <= 1

    def test_a_key_that_is_rotated_and_revoked_at_once_has_no_secret_left(self):
        for _ in range(5):
            new = api_keys.make("orders:read")

            outcomes = race(
                [
                    *[lambda: rotate(new)] * 4,  # noqa: B023
                    lambda: keys.revoke(key_id=new.key.pk),  # noqa: B023
                ]
            )

            assert not isinstance(outcomes[-1], Exception)
            late = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
            assert all(refusal.code == "api_key_revoked" for refusal in late)
            assert not new.key.secrets.exists()

    @pytest.mark.parametrize("is_locked", [True, False])
    def test_keys_made_at_once_stay_within_the_limit_and_those_counted_without_a_lock_exceed_it(
        self, is_locked, monkeypatch
    ):
        monkeypatch.setattr(keys, "KEYS_PER_ACCOUNT", 3)
        together, maker = threading.Barrier(8), SuperuserFactory()
        if not is_locked:
            monkeypatch.setattr(keys, "_lock_maker", lambda maker_id, wants_to_act: together.wait(10))

        outcomes = race([lambda: api_keys.make("orders:read", maker=maker)] * 8)

        refused = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
        made = keys.unrevoked().filter(maker=maker).count()
        if is_locked:
            assert len(refused) == 5 and {refusal.code for refusal in refused} == {"too_many_api_keys"}
        assert made == 3 if is_locked else made > 3


MAKE = "admin:accounts_apikey_make"
SECRET = re.compile(r"<code>(fc_key_[\w-]+)</code>")
FILLED = {
    "name": "warehouse",
    "scopes": ["products:read", "orders:write"],
    "days": "30",
    "reason": "A new till.",
}


def test_a_key_is_made_and_its_secret_is_shown_once():
    superuser = SuperuserFactory()
    client = signed_in(superuser)

    shown = confirmed(client, reverse(MAKE), **FILLED)

    assert shown.status_code == 200 and "no-store" in shown["Cache-Control"]
    [secret] = SECRET.findall(shown.text)
    key = ApiKey.objects.get()
    assert (key.maker_id, key.name) == (superuser.pk, "warehouse")
    assert key.scopes == ["orders:write", "products:read"]
    assert key.expires_at and (key.expires_at - key.created_at).days in (29, 30)
    assert KeyApi(secret).get("/products").status_code == 200
    line = journal_line("api_key.created")
    assert (line.actor_id, line.detail) == (superuser.pk, "A new till.")
    recorded = str([*IdempotencyKey.objects.values()])
    for page in (
        reverse("admin:accounts_apikey_changelist"),
        reverse("admin:accounts_apikey_change", args=[key.pk]),
    ):
        recorded += client.get(page).text
    assert secret not in recorded and keys.hash_of(secret) not in recorded
    assert key.prefix in recorded
    reading = [one for one in scopes.ALL if one.endswith(":read")]
    ApiKey.objects.update(scopes=reading)
    row = client.get(reverse("admin:accounts_apikey_changelist")).text
    assert "Read only: " in row


def test_a_form_that_is_sent_twice_makes_one_key_and_shows_its_secret_once():
    client = signed_in(SuperuserFactory())
    form_id = client.get(reverse(MAKE)).context["form"]["form_id"].value()
    sent = FILLED | {"form_id": str(form_id), "confirmed": "yes"}

    answers = [client.post(reverse(MAKE), sent) for _ in "12"]

    assert [answer.status_code for answer in answers] == [200, 302]
    assert ApiKey.objects.count() == 1


def test_its_maker_rotates_it_and_another_superuser_only_revokes_it():
    new, other = api_keys.make("products:read"), signed_in(SuperuserFactory())
    page, revoke = (
        reverse(f"admin:accounts_apikey_{name}", args=[new.key.pk]) for name in ("rotate", "revoke")
    )

    refused = confirmed(other, page, reason="Mine now.")
    assert new.key.secrets.count() == 1
    shown = confirmed(signed_in(new.key.maker), page, reason="A laptop was lost.")

    assert "Only the account that made an API key rotates it" in refused.text
    [secret] = SECRET.findall(shown.text)
    assert {KeyApi(one).get("/products").status_code for one in (new.secret, secret)} == {200}
    assert journal_line("api_key.rotated").detail == "A laptop was lost."
    confirmed(other, revoke, reason="The partner has left.")
    assert not new.key.secrets.exists()
