"""The operators' pages of API keys: secrets are shown once, and each action has its right and its reason."""

import re

import pytest
from django.urls import reverse

from accounts.api_keys import keys
from accounts.models import ApiKey
from shop.models import IdempotencyKey, JournalLine
from shop.tests import api_keys
from shop.tests.api_keys import KeyApi
from shop.tests.clients import signed_in
from shop.tests.confirming import confirmed
from shop.tests.factories import SuperuserFactory

pytestmark = pytest.mark.django_db
MAKE = "admin:accounts_apikey_make"
SECRET = re.compile(r"<code>(fc_key_[\w-]+)</code>")
FILLED = {
    "name": "warehouse",
    "scopes": ["products:read", "orders:write"],
    "days": "30",
    "reason": "A new till.",
}


def test_a_key_is_made_and_its_secret_is_shown_once():
    superuser = SuperuserFactory.create()
    client = signed_in(superuser)

    shown = confirmed(client, reverse(MAKE), **FILLED)

    assert shown.status_code == 200 and "no-store" in shown["Cache-Control"]
    [secret] = SECRET.findall(shown.content.decode())
    key = ApiKey.objects.get()
    assert (key.maker_id, key.name, key.scopes) == (
        superuser.pk,
        "warehouse",
        ["orders:write", "products:read"],
    )
    assert key.expires_at and (key.expires_at - key.created_at).days in (29, 30)
    assert KeyApi(secret).get("/products").status_code == 200
    line = JournalLine.objects.get(what="api_key.created")
    assert (line.actor_id, line.detail) == (superuser.pk, "A new till.")
    recorded = str([*IdempotencyKey.objects.values()])
    for page in (
        reverse("admin:accounts_apikey_changelist"),
        reverse("admin:accounts_apikey_change", args=[key.pk]),
    ):
        recorded += client.get(page).content.decode()
    assert secret not in recorded and keys.hash_of(secret) not in recorded
    assert key.prefix in recorded


def test_a_form_that_is_sent_twice_makes_one_key_and_shows_its_secret_once():
    client = signed_in(SuperuserFactory.create())
    form_id = client.get(reverse(MAKE)).context["form"]["form_id"].value()
    sent = FILLED | {"form_id": str(form_id), "confirmed": "yes"}

    answers = [client.post(reverse(MAKE), sent) for _ in "12"]

    assert [answer.status_code for answer in answers] == [200, 302]
    assert ApiKey.objects.count() == 1


def test_its_maker_rotates_it_and_another_superuser_only_revokes_it():
    new, other = api_keys.make("products:read"), signed_in(SuperuserFactory.create())
    page, revoke = (
        reverse(f"admin:accounts_apikey_{name}", args=[new.key.pk]) for name in ("rotate", "revoke")
    )

    refused = confirmed(other, page, reason="Mine now.")
    shown = confirmed(signed_in(new.key.maker), page, reason="A laptop was lost.")

    assert "Only the account that made an API key rotates it" in refused.content.decode()
    [secret] = SECRET.findall(shown.content.decode())
    assert {KeyApi(one).get("/products").status_code for one in (new.secret, secret)} == {200}
    assert JournalLine.objects.get(what="api_key.rotated").detail == "A laptop was lost."
    confirmed(other, revoke, reason="The partner has left.")
    assert not new.key.secrets.exists()
