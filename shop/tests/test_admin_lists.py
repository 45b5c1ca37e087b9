"""The operators' lists: no lookups but their own, odd input, and no statement without an end."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.exceptions import SuspiciousOperation
from django.db import OperationalError
from django.db.models import Model
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse
from django_otp.plugins.otp_totp.models import TOTPDevice

from backoffice import list_exports
from orders.admin.orders import OrderAdmin
from orders.models import Order
from payments.models import Payment
from payments.tests.factories import PaymentFactory
from shop.admin_base import actions, classes as admin_classes
from shop.admin_base.classes import ListMixin
from shop.models import JournalLine
from shop.tests import servers
from shop.tests.factories import OrderFactory, SuperuserFactory

LISTS = sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label)
ODD_TERMS = ["9" * 5_000, "9" * 250, "a\0b", "🎟️", "'", '"', "%", "\\", "_", "\ud800", "a " * 100, "٣"]
ODD_PAGES = [
    *({"p": page} for page in ("-1", "0", "x", str(10**30), "9" * 5_000)),
    *({"o": order} for order in ("99", "1." * 500 + "1", "-x")),
]


def request_of(account: Any, **query: str) -> HttpRequest:
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


def test_every_list_is_a_bounded_one() -> None:
    assert [model._meta.label for model, one in LISTS if not isinstance(one, ListMixin)] == []


@pytest.mark.django_db
def test_no_list_and_no_export_takes_a_lookup_that_it_does_not_offer() -> None:
    """`?token__startswith=` read the tokens of cards, `?key__startswith=` the secrets of one-time codes."""
    superuser, taken = SuperuserFactory.create(), []
    for model, model_admin in LISTS:
        for lookup in lookups_of(model):
            request = request_of(superuser, **{lookup: "a"})
            if not is_refused(model_admin.get_changelist_instance, request):
                taken.append(f"{model._meta.label}: {lookup}")
            if not is_refused(list_exports._filtered_rows, request, model_admin):
                taken.append(f"export of {model._meta.label}: {lookup}")
    assert taken == []


def is_refused(read: Callable[..., Any], *given: Any) -> bool:
    """Whether the list refuses the request; its page then leads to all rows, or is a 400."""
    try:
        read(*given)
    except (IncorrectLookupParameters, SuspiciousOperation):
        return True
    return False


@pytest.mark.django_db
def test_the_secret_of_one_time_codes_is_not_found_by_its_letters(operator: Client) -> None:
    TOTPDevice.objects.create(user=SuperuserFactory.create(), key="31" * 20, confirmed=True)
    page = operator.get(f"{address_of(TOTPDevice)}?key__startswith=3", follow=True)
    assert "The list has no filter key__startswith." in page.content.decode()
    assert page.redirect_chain
    export = operator.get("/admin/payments/payment/export/?token__startswith=tok", follow=True)
    assert "Nothing was exported" in export.content.decode()


@pytest.mark.django_db
def test_links_of_the_accounts_page_still_find_their_rows(operator: Client) -> None:
    order = OrderFactory.create()
    OrderFactory.create()
    found = operator.get(f"{address_of(Order)}?account__id__exact={order.account_id}").context["cl"]
    assert [row.pk for row in found.result_list] == [order.pk]
    page = operator.get(reverse("account-page", args=[order.account_id])).content.decode()
    links = re.findall(r'href="(/admin/[^"]+\?[^"]+)"', page)
    assert links
    for link in links:
        assert operator.get(link.replace("&amp;", "&")).status_code == 200, link


@pytest.mark.django_db
def test_odd_searches_and_numbers_are_no_server_errors() -> None:
    """A search for 4,301 digits was a 500, since Python converts no more of them."""
    superuser, errors = SuperuserFactory.create(), []
    for model, model_admin in LISTS:
        terms = ODD_TERMS if model_admin.search_fields else []
        for asked in [*({"q": term} for term in terms), *ODD_PAGES]:
            try:
                is_refused(read_rows, model_admin, request_of(superuser, **asked))
            except Exception as error:
                errors.append((model._meta.label, ascii(asked)[:40], repr(error)))
    assert errors == []


def read_rows(model_admin: "ModelAdmin[Any]", request: HttpRequest) -> None:
    list(model_admin.get_changelist_instance(request).result_list)


@pytest.mark.django_db
def test_no_page_of_a_row_is_a_server_error_for_odd_addresses(operator: Client) -> None:
    statuses = {}
    for model, _ in LISTS:
        address = address_of(model)
        for id in (str(2**63), "9" * 30, "9" * 5_000, "x", "-99", "%27", "%00"):
            status = operator.get(f"{address}{id}/change/").status_code
            statuses[model, id] = 500 if status == 200 else status
    wrong = {
        (model._meta.label, odd[:20]): status
        for (model, odd), status in statuses.items()
        if status not in (200, 302, 400, 404)
    }
    assert wrong == {}


@pytest.mark.django_db
def test_an_export_is_refused_where_its_search_can_not_be_done(operator: Client) -> None:
    """The list says so and shows all rows; a file of all rows would look like the result of the search."""
    for term in ("x" * 256, "a\0b"):
        answer = operator.get("/admin/auth/user/export/", {"q": term}, follow=True)
        assert "Nothing was exported" in answer.content.decode()


@pytest.mark.django_db
def test_pages_of_numbers_beyond_the_database_are_not_found(operator: Client) -> None:
    for number in (str(2**63), "9" * 30, "9" * 5_000):
        for page in ("accounts", "campaigns", "products"):
            assert operator.get(f"/admin/{page}/{number}/").status_code == 404, (page, number[:20])
        dialog = f"/admin/auth/user/{number}/reset_otp/"
        assert operator.post(dialog, {"reason": "lost phone"}).status_code in (200, 302, 404)


SLOW = {"where": ["SLEEP(30) = 0"]}


@pytest.mark.django_db(transaction=True)
def test_the_server_ends_a_statement_of_a_list_that_takes_too_long(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement went on for as long as it took, after its page had long been given up."""
    OrderFactory.create()
    monkeypatch.setattr(admin_classes, "LIST_SECONDS", 1)

    monkeypatch.setattr(OrderAdmin, "search", lambda self, orders, term: orders.extra(**SLOW))
    began_at = time.monotonic()
    refused = operator.get(f"{address_of(Order)}?q=anything")
    assert time.monotonic() - began_at < 20
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert "took longer than 1 s" in refused.json()["detail"]
    assert servers.statement_limit_seconds() == 0


@pytest.mark.django_db(transaction=True)
def test_an_action_that_the_list_does_not_have_gives_its_statements_no_more_time(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    OrderFactory.create()
    monkeypatch.setattr(admin_classes, "LIST_SECONDS", 1)

    monkeypatch.setattr(OrderAdmin, "get_queryset", lambda self, request: Order.objects.extra(**SLOW))
    refused = operator.post(address_of(Order), {"action": "none-of-these", "_selected_action": ["1"]})
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")


@pytest.mark.django_db(transaction=True)
def test_the_rows_of_an_action_are_looked_for_no_longer_than_those_of_a_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    OrderFactory.create()
    monkeypatch.setattr(actions, "LIST_SECONDS", 1)
    slow, post = Order.objects.extra(**SLOW), RequestFactory().post("/")
    action = actions.Action(title="", description="", submit="")
    with pytest.raises(OperationalError) as raised:
        actions.run_for_selected(post, slow, "none", lambda rows: action)
    assert raised.value.args[0] in admin_classes.STATEMENT_ENDED
    assert servers.statement_limit_seconds() == 0


@pytest.mark.django_db(transaction=True)
def test_after_a_list_its_connection_has_no_limit(operator: Client) -> None:
    JournalLine.objects.all().delete()
    PaymentFactory.create()
    assert operator.get(address_of(Payment)).status_code == 200
    assert operator.get(f"{address_of(Payment)}?token__startswith=a").status_code == 302
    assert servers.statement_limit_seconds() == 0
