"""Members of staff: added in one form by superusers, with rights that the form says in words."""

import re

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.admin import READ_ONLY, MakeKeyForm
from accounts.rights_in_words import GROUPS, SCOPES, UNUSED_SCOPES, describe_group, describe_rights
from accounts.tests.clients import signed_in
from foundation import scopes
from foundation.models import IdempotencyKey, JournalLine
from foundation.tests import openapi_document
from foundation.tests.confirming import confirmed, to_confirm
from foundation.tests.factories import AccountFactory, SuperuserFactory, reloaded, staff_member
from foundation.tests.journal_lines import journal_line
from foundation.tests.sent_forms import fields_of
from foundation.tests.staff_groups import NAMES, _staff_groups, permissions_of

__all__ = ["_staff_groups"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_staff_groups")]
ADD = "admin:auth_user_add_member"
PASSWORD = re.compile(r"<code>(\w{20})</code>")


@pytest.fixture
def client():
    return signed_in(SuperuserFactory(username="olga"))


def group_id(name: str) -> int:
    return Group.objects.get(name=name).pk


def filled(**changed) -> dict[str, object]:
    return {"username": "sam", "email": "sam@example.com", "groups": [group_id("Support")]} | changed


def test_a_member_is_in_the_chosen_groups_and_the_password_is_shown_once(client):
    shown = confirmed(client, reverse(ADD), **filled(reason="A new colleague."))

    assert shown.status_code == 200 and "no-store" in shown["Cache-Control"]
    [password] = PASSWORD.findall(shown.text)
    sam = User.objects.get(username="sam")
    assert (sam.is_staff, sam.is_superuser, sam.email) == (True, False, "sam@example.com")
    assert sam.check_password(password)
    for said in ("sam", "sam@example.com", "http://testserver/admin/login/"):
        assert f"<dd>{said}</dd>" in shown.text
    assert describe_rights(sam) == "Support"
    own = client.get(reverse("account-page", args=[sam.pk]))
    assert str(GROUPS["Support"].sentence) in own.text
    marked = [
        item["title"]
        for group in own.context["sidebar_navigation"]
        for item in group["items"]
        if item["active"]
    ]
    assert marked == ["Members"]
    line = journal_line("account.created")
    assert (line.actor_name, line.detail) == ("olga", "A new colleague.")
    assert line.after["groups"] == ["Support"]
    kept = str([*IdempotencyKey.objects.values(), *JournalLine.objects.values()])
    for page in (reverse("admin:auth_user_changelist"), reverse("admin:auth_user_change", args=[sam.pk])):
        kept += client.get(page).text
    assert password not in kept and sam.password not in str([*JournalLine.objects.values()])


def test_a_form_that_is_sent_twice_adds_one_member_and_shows_the_password_once(client):
    sent = to_confirm(client, reverse(ADD), **filled())

    answers = [client.post(reverse(ADD), sent) for _ in "12"]

    assert [answer.status_code for answer in answers] == [200, 302]
    assert [len(PASSWORD.findall(answer.text)) for answer in answers] == [1, 0]
    assert User.objects.filter(username="sam").count() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"username": "olga"},
        {"username": "erased-7"},
        {"username": "no blanks"},
        {"email": "nowhere"},
        {"groups": []},
        {"groups": [999_999]},
    ],
)
def test_what_is_wrong_adds_nobody(client, wrong):
    answer = confirmed(client, reverse(ADD), **filled(**wrong))

    assert answer.status_code == 200 and not PASSWORD.findall(answer.text)
    assert User.objects.count() == 1 and not JournalLine.objects.filter(what="account.created")


def test_only_superusers_give_rights():
    clerk = signed_in(staff_member("auth.add_user", "auth.change_user", "auth.view_user", "auth.view_group"))
    customer = AccountFactory()
    page = reverse("admin:auth_user_change", args=[customer.pk])

    assert clerk.get(reverse(ADD)).status_code == 403
    assert clerk.post(reverse(ADD), filled()).status_code == 403
    sent = fields_of(clerk.get(page).text, reason="Mine.", email="new@example.com")
    clerk.post(page, sent | {"groups": [group_id("Operations")], "is_staff": "on", "is_superuser": "on"})

    assert not User.objects.filter(username="sam")
    changed = reloaded(customer)
    assert (changed.email, changed.is_staff, changed.is_superuser) == ("new@example.com", False, False)
    assert not changed.groups.exists()
    assert journal_line("account.changed").after == {"email": "new@example.com"}


def test_the_page_of_a_member_says_what_each_group_may_do_and_changes_the_groups(client):
    sam = staff_member(username="sam")
    page = reverse("admin:auth_user_change", args=[sam.pk])
    shown = client.get(page).text
    assert all(str(GROUPS[name].sentence) in shown for name in NAMES)

    client.post(page, fields_of(shown, reason="A second job.") | {"groups": [group_id("Finance")]})

    assert describe_rights(reloaded(sam)) == "Finance"
    assert journal_line("account.changed").after == {"groups": ["Finance"]}


def test_each_group_of_the_shop_may_what_its_sentence_says_and_nothing_that_it_denies():
    assert GROUPS.keys() == set(NAMES)
    assert [name for name in NAMES if not GROUPS[name].are_of(permissions_of(name))] == []
    every = {right for name in NAMES for right in permissions_of(name)}
    for name in NAMES:
        held = permissions_of(name)
        assert not any(GROUPS[name].are_of([*held - {right}]) for right in GROUPS[name].claimed.split())
        denied = [right for right in every if not GROUPS[name].are_of(held | {right})]
        assert denied and not held & {*denied}


def test_a_group_that_superusers_changed_is_not_said_to_have_rights_that_it_lacks():
    support = Group.objects.get(name="Support")
    assert str(GROUPS["Support"].sentence) in describe_group(support)

    support.permissions.remove(Permission.objects.get(codename="add_refund"))
    own = Group.objects.create(name="<b>night</b>")

    assert describe_group(support) == "<strong>Support</strong> <span></span>"
    assert describe_group(own) == "<strong>&lt;b&gt;night&lt;/b&gt;</strong> <span></span>"


def test_the_list_says_in_a_few_words_what_an_account_may_do():
    texts = [describe_rights(one) for one in (AccountFactory(), SuperuserFactory(), staff_member())]
    assert texts == ["customer", "everything", "nothing yet"]
    assert describe_rights(staff_member("orders.view_order")) == "single permissions"


def test_every_scope_has_a_sentence_and_the_forms_offer_those_that_a_call_needs(client):
    paths = openapi_document.read()["paths"].values()
    needed = {
        scope for path in paths for call in path.values() for scope in str(call.get("x-scope", "")).split()
    }

    assert [*SCOPES] == [*scopes.ALL]
    assert len({*map(str, SCOPES.values())}) == len(SCOPES)
    assert {*scopes.ALL} - needed - {scopes.ACT} == UNUSED_SCOPES
    offered = client.get(reverse("admin:accounts_apikey_make")).context["form"].fields["scopes"].choices
    assert [scope for scope, _ in offered] == [
        READ_ONLY,
        *(one for one in scopes.ALL if one not in UNUSED_SCOPES),
    ]
    sent = {"form_id": uuid7(), "name": "reports", "scopes": [READ_ONLY, "orders:write"], "days": 365}
    form = MakeKeyForm(sent)
    assert form.is_valid(), form.errors
    reading = [one for one in scopes.ALL if one.endswith(":read")]
    assert {*form.cleaned_data["scopes"]} == {*reading, "orders:write"}
