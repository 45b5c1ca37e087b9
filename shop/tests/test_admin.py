"""Operators' pages: all open, accounts are disabled rather than deleted, and no privilege escalates."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.admin import RIGHTS
from accounts.tokens import disabled_accounts
from shop.admin_base.actions import MOST_SELECTED
from shop.models import JournalLine
from shop.tests.clients import signed_in
from shop.tests.factories import PASSWORD, AccountFactory, SuperuserFactory

OURS = ("shop", "accounts", "events", "coupons", "inventory", "payments", "sales", "orders")
CHANGE = "auth.change_user"


def page_of(user: User) -> str:
    return reverse("admin:auth_user_change", args=[user.pk])


def filled_in(response: Any, **changed: Any) -> dict[str, Any]:
    """The page's form as a browser would send it, with some fields changed."""
    form = response.context["adminform"].form
    initial = {name: form.initial.get(name) for name in form.fields}
    values = initial | {"reason": "A test."} | changed
    sent = {name: value for name, value in values.items() if value not in (None, False, [])}
    joined = sent.pop("date_joined", None)
    if joined:
        sent |= {"date_joined_0": joined.date().isoformat(), "date_joined_1": joined.time().isoformat()}
    return sent


@pytest.mark.django_db
@pytest.mark.parametrize("selected", ["", "x", "9" * 400])
def test_an_action_on_what_is_no_key_is_refused_on_every_list(selected: str) -> None:
    client = signed_in(SuperuserFactory.create())
    request = client.get("/admin/").wsgi_request
    for model, pages in admin.site._registry.items():
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for action in pages.get_actions(request):
            sent = {"action": [action, ""], ACTION_CHECKBOX_NAME: [selected], "index": "0"}
            assert client.post(address, sent).status_code < 500, (address, action)
            sent = {"action": ["", action], ACTION_CHECKBOX_NAME: [selected], "index": "9" * 400}
            assert client.post(address, sent).status_code < 500, (address, action)


@pytest.mark.django_db
def test_no_row_of_this_project_can_be_deleted_in_the_admin() -> None:
    request = signed_in(SuperuserFactory()).get("/admin/").wsgi_request

    for model, pages in admin.site._registry.items():
        if model._meta.app_label in OURS or model is User:
            assert not pages.has_delete_permission(request), model


def disable(client: Client, *chosen: User, **more: Any) -> Any:
    """Choose the accounts on the list; with `reason`, answer the page that asks for it."""
    form = {"action": "disable", "_selected_action": [account.pk for account in chosen]}
    form |= {"form_id": str(uuid7())} if "reason" in more else {}
    return client.post(reverse("admin:auth_user_changelist"), form | more, follow=True)


@pytest.mark.django_db
def test_accounts_are_disabled_together_with_a_reason_except_the_operators_own() -> None:
    superuser, ada, bob = SuperuserFactory(), AccountFactory(), AccountFactory()
    client = signed_in(superuser)

    asked = disable(client, superuser, ada, bob)

    assert "Disable 3 accounts" in asked.content.decode() and "A disabled account" in asked.content.decode()
    assert f"{superuser.username}: your own account: it is not changed" in asked.content.decode()
    assert "This field is required" in disable(client, ada, reason=" ").content.decode()
    assert User.objects.filter(is_active=True).count() == 3
    done = disable(client, superuser, ada, bob, reason="Stolen cards.")
    assert set(User.objects.filter(is_active=True)) == {superuser}
    messages = [str(message) for message in done.context["messages"]]
    assert messages == ["1 not changed.", "2 disabled: their tokens are refused within five seconds."]
    assert ada.pk in disabled_accounts.CACHED.get().ids
    lines = JournalLine.objects.filter(what="account.changed").order_by("id")
    assert [(line.subject, line.before, line.after, line.actor_id, line.detail) for line in lines] == [
        (f"account {one.pk}", {"is_active": True}, {"is_active": False}, superuser.pk, "Stolen cards.")
        for one in (ada, bob)
    ]


@pytest.mark.django_db
def test_more_accounts_than_the_page_lists_are_not_disabled() -> None:
    superuser = SuperuserFactory()
    User.objects.bulk_create(AccountFactory.build_batch(MOST_SELECTED))

    done = disable(signed_in(superuser), superuser, select_across="1", reason="Stolen cards.")

    assert "Nothing was done: select 100 at most" in done.content.decode()
    assert not User.objects.filter(is_active=False).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("right", RIGHTS)
def test_permission_to_change_accounts_does_not_allow_granting_permissions(right: str) -> None:
    client = signed_in(AccountFactory(is_staff=True, permissions=[CHANGE]))
    ada = AccountFactory()
    sent = filled_in(client.get(page_of(ada)), email="new@example.com", **{right: "1"})

    client.post(page_of(ada), sent)

    ada.refresh_from_db()
    assert ada.email == "new@example.com"
    assert not ada.is_staff and not ada.is_superuser
    assert not ada.groups.exists() and not ada.user_permissions.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("more", [{"is_superuser": True}, {"permissions": ["payments.add_transfer"]}])
def test_staff_cannot_take_over_an_account_with_more_permissions(more: dict[str, Any]) -> None:
    client = signed_in(AccountFactory(is_staff=True, permissions=[CHANGE, "auth.view_user"]))
    other = AccountFactory(is_staff=True, **more)

    changed = client.post(page_of(other), {"username": "gone", "is_active": ""})
    password = client.post(
        reverse("admin:auth_user_password_change", args=[other.pk]),
        {"password1": PASSWORD + "8", "password2": PASSWORD + "8", "usable_password": "true"},
    )
    disable(client, other, reason="Mine now.")

    assert (changed.status_code, password.status_code) == (403, 403)
    other.refresh_from_db()
    assert other.is_active and other.check_password(PASSWORD)


@pytest.mark.django_db
def test_staff_cannot_extend_their_own_permissions_through_their_group() -> None:
    group = Group.objects.create(name="warehouse")
    rights = ["auth.add_group", "auth.change_group", "auth.delete_group", "auth.view_group"]
    member = AccountFactory(is_staff=True, permissions=rights)
    member.groups.add(group)
    client = signed_in(member)
    everything = list(Permission.objects.values_list("pk", flat=True))

    changed = client.post(
        reverse("admin:auth_group_change", args=[group.pk]), {"name": "warehouse", "permissions": everything}
    )
    added = client.post(reverse("admin:auth_group_add"), {"name": "more", "permissions": everything})
    deleted = client.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})

    assert [changed.status_code, added.status_code, deleted.status_code] == [403, 403, 403]
    assert Group.objects.filter(name="warehouse").exists() and not Group.objects.filter(name="more").exists()
    assert not group.permissions.exists()


@pytest.mark.django_db
def test_sign_ins_to_the_admin_share_the_api_throttle() -> None:
    SuperuserFactory(username="ada")
    login = reverse("admin:login")

    pages = [Client().post(login, {"username": "ada", "password": "wrong"}) for _ in range(10)]
    refused = Client().post(login, {"username": "ada", "password": PASSWORD})
    api = Client().post(
        "/api/v1/auth/token", {"username": "ada", "password": PASSWORD}, content_type="application/json"
    )

    assert [page.status_code for page in pages] == [200] * 10
    assert refused.status_code == 200 and b"Too many attempts" in refused.content
    assert "_auth_user_id" not in refused.wsgi_request.session
    assert api.status_code == 429


@pytest.mark.django_db
def test_lists_of_long_tables_show_no_filter_counts() -> None:
    client = signed_in(SuperuserFactory())
    for model, pages in admin.site._registry.items():
        if pages.show_full_result_count:
            continue
        page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        assert not client.get(page, {"_facets": "True"}).context["cl"].add_facets, model
