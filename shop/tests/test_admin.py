"""The operators' pages: accounts are disabled and not deleted, no privilege escalates, lists are bounded."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import Group, Permission, User
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.exceptions import SuspiciousOperation
from django.db import OperationalError
from django.db.models import Model
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse
from django_otp.plugins.otp_totp.models import TOTPDevice
from uuid_utils.compat import uuid7

from accounts.admin import RIGHTS
from accounts.tests.clients import problem_of, signed_in
from accounts.tokens import disabled_accounts
from backoffice import list_exports
from foundation.admin_base import actions, classes as admin_classes
from foundation.admin_base.actions import MOST_SELECTED
from foundation.admin_base.classes import ListMixin
from foundation.db.mysql.patience import is_statement_ended
from foundation.tests import servers
from foundation.tests.factories import PASSWORD, AccountFactory, OrderFactory, SuperuserFactory, staff_member
from foundation.tests.journal_lines import journal_lines
from foundation.tests.user_pages import filled_in, page_of
from foundation.tests.waiting import within
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.admin.orders import OrderAdmin
from orders.models import Order
from payments.models import Payment
from payments.tests.factories import PaymentFactory
from scripts.stack import places

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("selected", ["", "x", "9" * 400])
def test_an_action_on_what_is_no_key_is_refused_on_every_list(selected, operator):
    request = operator.get("/admin/").wsgi_request
    for model, pages in admin.site._registry.items():
        for action in pages.get_actions(request):
            for chosen, index in (([action, ""], "0"), (["", action], "9" * 400)):
                sent = {"action": chosen, ACTION_CHECKBOX_NAME: [selected], "index": index}
                assert operator.post(address_of(model), sent).status_code < 500, (model, action)


def test_every_list_is_bounded_and_without_counts_and_no_row_of_this_project_can_be_deleted(operator):
    request = operator.get("/admin/").wsgi_request

    for model, pages in admin.site._registry.items():
        assert isinstance(pages, ListMixin), model
        if not pages.show_full_result_count:
            assert not operator.get(address_of(model), {"_facets": "True"}).context["cl"].add_facets, model
        if model._meta.app_label in places.APPS or model is User:
            assert not pages.has_delete_permission(request), model


def disable(client, *chosen: User, **more):
    """Choose the accounts on the list; with `reason`, answer the page that asks for it."""
    form = {"action": "disable", "_selected_action": [account.pk for account in chosen]}
    form |= {"form_id": str(uuid7())} if "reason" in more else {}
    return client.post(reverse("admin:auth_user_changelist"), form | more, follow=True)


def test_accounts_are_disabled_together_with_a_reason_except_the_operators_own():
    superuser, ada, bob = SuperuserFactory(), AccountFactory(), AccountFactory()
    client = signed_in(superuser)

    asked = disable(client, superuser, ada, bob)

    assert "Disable 3 accounts" in asked.text and "A disabled account" in asked.text
    assert f"{superuser.username}: your own account: you can't disable it" in asked.text.replace(
        "&#x27;", "'"
    )
    assert "This field is required" in disable(client, ada, reason=" ").text
    assert User.objects.filter(is_active=True).count() == 3
    done = disable(client, superuser, ada, bob, reason="Stolen cards.")
    assert set(User.objects.filter(is_active=True)) == {superuser}
    messages = [str(message) for message in done.context["messages"]]
    assert messages == [
        "Accounts not changed: 1.",
        "Accounts disabled: 2. They are signed out within five seconds.",
    ]
    assert ada.pk in disabled_accounts.CACHED.get().ids
    lines = journal_lines("account.changed")
    assert [(line.subject, line.before, line.after, line.actor_id, line.detail) for line in lines] == [
        (f"account {one.pk}", {"is_active": True}, {"is_active": False}, superuser.pk, "Stolen cards.")
        for one in (ada, bob)
    ]


def test_more_accounts_than_the_page_lists_are_not_disabled():
    superuser = SuperuserFactory()
    User.objects.bulk_create(AccountFactory.build_batch(MOST_SELECTED))

    done = disable(signed_in(superuser), superuser, select_across="1", reason="Stolen cards.")

    assert "Select at most 100 at a time" in done.text
    assert not User.objects.filter(is_active=False).exists()


@pytest.mark.parametrize("right", RIGHTS)
def test_permission_to_change_accounts_does_not_allow_granting_permissions(right):
    client = signed_in(staff_member("auth.change_user"))
    ada = AccountFactory()
    sent = filled_in(client.get(page_of(ada)), email="new@example.com", **{right: "1"})

    client.post(page_of(ada), sent)

    ada.refresh_from_db()
    assert ada.email == "new@example.com"
    assert not ada.is_staff and not ada.is_superuser
    assert not ada.groups.exists() and not ada.user_permissions.exists()


@pytest.mark.parametrize("more", [{"is_superuser": True}, {"permissions": ["payments.add_transfer"]}])
def test_staff_cannot_take_over_an_account_with_more_permissions(more):
    client = signed_in(staff_member("auth.change_user", "auth.view_user"))
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


def test_staff_cannot_extend_their_own_permissions_through_their_group():
    group = Group.objects.create(name="warehouse")
    rights = ["auth.add_group", "auth.change_group", "auth.delete_group", "auth.view_group"]
    member = staff_member(*rights)
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


def test_sign_ins_to_the_admin_share_the_api_throttle():
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


LISTS = sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label)
ODD_TERMS = ["9" * 5_000, "9" * 250, "a\0b", "🎟️", "'", '"', "%", "\\", "_", "\ud800", "a " * 100, "٣"]
ODD_PAGES = [
    *({"p": page} for page in ("-1", "0", "x", str(10**30), "9" * 5_000)),
    *({"o": order} for order in ("99", "1." * 500 + "1", "-x")),
]


def request_of(account, **query: str) -> HttpRequest:
    request = RequestFactory().get("/?" + urlencode(query, errors="surrogatepass"))
    request.user = account
    request._messages = CookieStorage(request)  # type: ignore[attr-defined]
    return request


def address_of(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def lookups_of(model: type[Model]) -> Iterator[str]:
    """Lookups of all columns, of related rows' columns too, that reveal a value letter by letter."""
    for field in model._meta.get_fields():
        if field.is_relation and not field.concrete:
            continue
        yield f"{field.name}__startswith" if not field.is_relation else f"{field.name}__gt"
        if field.is_relation and field.related_model:
            yield f"{field.name}__{field.related_model._meta.pk.name}__regex"


def test_no_list_and_no_export_takes_a_lookup_that_it_does_not_offer():
    """`?token__startswith=` read the tokens of cards, `?key__startswith=` the secrets of one-time codes."""
    superuser, taken = SuperuserFactory(), []
    for model, model_admin in LISTS:
        for lookup in lookups_of(model):
            request = request_of(superuser, **{lookup: "a"})
            if not is_refused(model_admin.get_changelist_instance, request):
                taken.append(f"{model._meta.label}: {lookup}")
            if not is_refused(list_exports._filtered_rows, request, model_admin):
                taken.append(f"export of {model._meta.label}: {lookup}")
    assert taken == []


def is_refused(read: Callable[..., Any], *given) -> bool:
    """Whether the list refuses the request; its page then leads to all rows, or is a 400."""
    try:
        read(*given)
    except (IncorrectLookupParameters, SuspiciousOperation):
        return True
    return False


def test_the_secret_of_one_time_codes_is_not_found_by_its_letters(operator):
    """The list says so and shows all rows; a file of all rows would look like the result of the search."""
    TOTPDevice.objects.create(user=SuperuserFactory(), key="31" * 20, confirmed=True)
    page = operator.get(f"{address_of(TOTPDevice)}?key__startswith=3", follow=True)
    assert "The list has no filter key__startswith." in page.text
    assert page.redirect_chain
    searches = [("payments/payment", "token__startswith", "tok"), ("auth/user", "q", "x" * 256)]
    for path, name, term in (*searches, ("auth/user", "q", "a\0b")):
        export = operator.get(f"/admin/{path}/export/", {name: term}, follow=True)
        assert "Nothing was exported" in export.text


def test_links_of_the_accounts_page_still_find_their_rows(operator):
    order = OrderFactory()
    OrderFactory()
    found = operator.get(f"{address_of(Order)}?account__id__exact={order.account_id}").context["cl"]
    assert [row.pk for row in found.result_list] == [order.pk]
    page = operator.get(reverse("account-page", args=[order.account_id])).text
    links = re.findall(r'href="(/admin/[^"]+\?[^"]+)"', page)
    assert links
    for link in links:
        assert operator.get(link.replace("&amp;", "&")).status_code == 200, link


def test_odd_searches_and_numbers_are_no_server_errors():
    """A search for 4,301 digits was a 500, since Python converts no more of them."""
    superuser, errors = SuperuserFactory(), []
    for model, model_admin in LISTS:
        terms = ODD_TERMS if model_admin.search_fields else []
        for asked in [*({"q": term} for term in terms), *ODD_PAGES]:
            try:
                list(model_admin.get_changelist_instance(request_of(superuser, **asked)).result_list)
            except (IncorrectLookupParameters, SuspiciousOperation):
                continue
            except Exception as error:
                errors.append((model._meta.label, ascii(asked)[:40], repr(error)))
    assert errors == []


def test_no_page_of_a_row_is_a_server_error_for_odd_addresses(operator):
    beyond_the_database = (str(2**63), "9" * 30, "9" * 5_000)
    for id in (*beyond_the_database, "x", "-99", "%27", "%00"):
        for model, _ in LISTS:
            status = operator.get(f"{address_of(model)}{id}/change/").status_code
            assert status in (302, 400, 404), (model._meta.label, id[:20])
    for number in beyond_the_database:
        for page in ("accounts", "campaigns", "products"):
            assert operator.get(f"/admin/{page}/{number}/").status_code == 404, (page, number[:20])
        dialog = f"/admin/auth/user/{number}/reset_otp/"
        assert operator.post(dialog, {"reason": "lost phone"}).status_code in (200, 302, 404)


def test_a_search_of_a_list_by_parts_of_words_has_five_at_most(operator):
    ProductFactory(name="One pot of green tea")
    found = operator.get(f"{address_of(Product)}?q=tea+green+of+pot+one").text
    assert "One pot of green tea" in found and "five words" not in found
    refused = operator.get(f"{address_of(Product)}?q=one+small+pot+of+green+tea")
    assert refused.status_code == 200 and "A search has five words at most." in refused.text


SLOW = {"where": ["SLEEP(30) = 0"]}


def test_the_server_ends_a_statement_of_a_list_or_an_action_that_takes_too_long(
    transactional_db, operator, monkeypatch
):
    """The statement went on for as long as it took, after its page had long been given up."""
    PaymentFactory()
    assert operator.get(address_of(Payment)).status_code == 200
    assert operator.get(f"{address_of(Payment)}?token__startswith=a").status_code == 302
    assert servers.statement_limit_seconds() == 0, "a connection has no limit after its list"
    OrderFactory()
    monkeypatch.setattr(admin_classes, "LIST_SECONDS", 1)
    monkeypatch.setattr(OrderAdmin, "search", lambda self, orders, term: orders.extra(**SLOW))
    with within(20):
        refused = operator.get(f"{address_of(Order)}?q=anything")
    assert problem_of(refused) == (503, "unavailable")
    assert "took longer than 1 s" in refused.json()["detail"]
    assert servers.statement_limit_seconds() == 0
    # Nor gives an action that the list does not have its statements more time.
    monkeypatch.setattr(OrderAdmin, "get_queryset", lambda self, request: Order.objects.extra(**SLOW))
    refused = operator.post(address_of(Order), {"action": "none-of-these", "_selected_action": ["1"]})
    assert problem_of(refused) == (503, "unavailable")


def test_the_rows_of_an_action_are_looked_for_no_longer_than_those_of_a_list(transactional_db, monkeypatch):
    OrderFactory()
    monkeypatch.setattr(actions, "LIST_SECONDS", 1)
    slow, post = Order.objects.extra(**SLOW), RequestFactory().post("/")
    action = actions.Action(title="", description="", submit="")
    with pytest.raises(OperationalError) as raised:
        actions.list_action()(lambda pages, request, rows: action)(None, post, slow)
    assert is_statement_ended(raised.value)
    assert servers.statement_limit_seconds() == 0
