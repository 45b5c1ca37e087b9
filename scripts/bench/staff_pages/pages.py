"""Every page of the operators and every list of the staff's API: its address, and its statements.

Run in the environment of a stack: prints JSON with a session, a token, and the pages.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import chain
from typing import Any
from urllib.parse import urlencode, urlsplit

import django

django.setup()

from django.conf import settings  # noqa: E402 - the registry has to be there
from django.contrib import admin  # noqa: E402
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.messages.storage.base import BaseStorage  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.models import Model  # noqa: E402
from django.test import Client, RequestFactory  # noqa: E402
from django.urls import reverse  # noqa: E402

from coupons.models import Campaign, Coupon  # noqa: E402
from inventory.models import Product  # noqa: E402
from orders.models import Order  # noqa: E402
from payments.models import Payment, Transfer  # noqa: E402
from shop import clock  # noqa: E402
from shop.accounts import tokens  # noqa: E402
from shop.http import keyset_pages  # noqa: E402
from shop.operators.lists import ExactSearchMixin  # noqa: E402

OPERATOR = "staff-pages"
UNKNOWN = "no-row-has-this"
API = "/api/v1"
LONGEST_STATEMENT = 400


@dataclass
class Page:
    """A page by its address: the list or object that it shows, and in which way."""

    of: str
    way: str
    path: str
    statements: int = 0
    slowest_ms: float = 0.0
    slowest: str = ""


class _NoMessages(BaseStorage):
    """Messages of a request that no middleware has seen."""

    def _get(self, *args: Any, **kwargs: Any) -> Any:
        return [], True

    def _store(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        return []


def main() -> None:
    """Print the pages whose list's name contains the first argument."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    operator, _ = User.objects.get_or_create(
        username=OPERATOR, defaults={"is_staff": True, "is_superuser": True}
    )
    token, session = tokens.create_access_token(operator), _session(operator)
    client = Client(
        HTTP_HOST="127.0.0.1", HTTP_ACCEPT_LANGUAGE="en", headers={"authorization": f"Bearer {token}"}
    )
    client.cookies[settings.SESSION_COOKIE_NAME] = session
    every = chain(_pages_of_all(), _objects(), _lists(operator), _api(client))
    pages = [page for page in every if only in page.of]
    for page in pages:
        _count_statements(client, page)
    print(json.dumps({"session": session, "token": token, "pages": [asdict(page) for page in pages]}))


def _session(operator: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(operator.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = operator.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def _count_statements(client: Client, page: Page) -> None:
    """Request the page in this process, where its statements can be seen; the second time nothing is new."""
    client.get(page.path)
    statements: list[tuple[float, str]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        began_at = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            took = 1000 * (time.perf_counter() - began_at)
            with suppress(TypeError, ValueError):
                sql = sql % tuple(params or ())
            statements.append((took, sql))

    with connection.execute_wrapper(note):
        client.get(page.path)
    if statements:
        page.statements = len(statements)
        page.slowest_ms, sql = max(statements)
        page.slowest = " ".join(sql.split())[:LONGEST_STATEMENT]


def _lists(operator: User) -> Iterator[Page]:
    """Every list of the admin in all its ways."""
    for model, model_admin in sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label):
        yield from _list(operator, model, model_admin)


def _list(operator: User, model: type[Model], model_admin: Any) -> Iterator[Page]:
    name = model._meta.label_lower
    path = reverse(f"admin:{name.replace('.', '_')}_changelist")
    request = RequestFactory().get(path)
    request.user = operator
    request._messages = _NoMessages(request)  # type: ignore[attr-defined]
    listed = model_admin.get_changelist_instance(request)
    yield Page(name, "first page", path)
    is_long = issubclass(model_admin.paginator, keyset_pages.KeysetPaginator)
    yield from _pages_beside(name, path, listed, request if is_long else None)
    for filter in listed.filter_specs:
        for title, query in _choices(filter, listed):
            yield Page(name, f"{filter.title}: {title}"[:60], f"{path}{query}")
            if is_long:
                last = f"{path}{query}&p={keyset_pages.LAST}"
                yield Page(name, f"{filter.title}: {title}, last page"[:72], last)
    for number, column in enumerate(listed.list_display):
        if listed.get_ordering_field(column):
            for sign, way in (("", "ascending"), ("-", "descending")):
                yield Page(name, f"by {column}, {way}", f"{path}?o={sign}{number}")
    if model_admin.search_fields:
        for term in dict.fromkeys([*_terms(model, model_admin), UNKNOWN]):
            yield Page(name, f"search {term}"[:60], f"{path}?{urlencode({'q': term})}")


def _pages_beside(name: str, path: str, listed: Any, request: Any) -> Iterator[Page]:
    """The page after the first one, and the last one, if the list has several; by key with its request."""
    if request is not None:
        of_list = listed.root_queryset
        ordering = listed.get_ordering(request, of_list)
        following = keyset_pages.read_page(of_list, "", ordering=ordering, size=listed.list_per_page).next
        positions = {"next page": following, "last page": keyset_pages.LAST} if following else {}
    else:
        last = listed.paginator.num_pages
        positions = {"next page": "2", "last page": str(last)} if last > 1 else {}
    for way, position in positions.items():
        yield Page(name, way, f"{path}?{urlencode({'p': position})}")


def _choices(filter: Any, listed: Any) -> Iterator[tuple[str, str]]:
    """The choices that the filter offers, and for a text filter examples."""
    yesterday = f"{clock.now() - timedelta(hours=6):%Y-%m-%d %H:%M}"
    examples = {
        "by": ["filled-7", OPERATOR, UNKNOWN],
        "happened": ["order.", "order.paid", "coupon.issued", "campaign.changed", UNKNOWN],
        "since": [yesterday],
        "before": [yesterday],
    }
    for choice in filter.choices(listed):
        if "form" in choice:
            for word in examples.get(filter.parameter_name, []):
                yield word, f"?{urlencode({filter.parameter_name: word})}"
        elif choice.get("query_string", "?") != "?":
            yield str(choice["display"]), choice["query_string"]


def _terms(model: type[Model], model_admin: Any) -> Iterator[str]:
    """What the list's newest row would be searched by."""
    row = model._default_manager.order_by("-pk").first()
    names = list(model_admin.search_fields)
    if isinstance(model_admin, ExactSearchMixin):
        names += [*model_admin.uuid_fields, *model_admin.word_fields]
    for name in dict.fromkeys(names):
        value: Any = row
        for part in name.lstrip("=^@").split("__"):
            value = getattr(value, part, None)
        if value not in (None, ""):
            yield str(value)
    yield from _other_terms().get(model._meta.label_lower, [])


def _other_terms() -> dict[str, list[str]]:
    """What searches of their own take beyond the fields that they name."""
    order = Order.objects.filter(status="paid").order_by("-id").first()
    payment = Payment.objects.order_by("-id").first()
    transfer = Transfer.objects.order_by("-id").first()
    coupon = Coupon.objects.filter(order__isnull=False).order_by("-id").first()
    if not (order and payment and transfer and coupon):
        return {}
    return {
        "auth.user": [str(order.account_id), "filled-1", "f"],
        "orders.order": [coupon.code, order.account.username],
        "orders.saga": [str(order.pk), str(payment.pk)],
        "payments.payment": [
            str(payment.order_id),
            payment.charge_key,
            payment.charge_reference or UNKNOWN,
            order.account.username,
        ],
        "payments.transfer": [transfer.reference, str(transfer.order_id)],
        "shop.journalline": [f"order {order.pk}", str(order.pk), "product 1"],
    }


def _pages_of_all() -> Iterator[Page]:
    """The pages that show no list and no object: home, apps, search, board, report."""
    yield Page("home", "", "/admin/")
    for app in sorted({model._meta.app_label for model in admin.site._registry}):
        yield Page("app", app, f"/admin/{app}/")
    order = Order.objects.order_by("-id").first()
    payment = Payment.objects.order_by("-id").first()
    coupon = Coupon.objects.order_by("-id").first()
    terms = [UNKNOWN, "filled-7", "filled"]
    terms += [str(order.pk), order.account.username] if order else []
    terms += [payment.charge_key, payment.charge_reference] if payment else []
    terms += [coupon.code, coupon.code[:4]] if coupon else []
    for term in filter(None, terms):
        query = urlencode({"q": term})
        yield Page("search", f"page, {term}", f"/admin/search/?{query}")
        yield Page("search", f"while typed, {term}", f"/admin/search/hits/?{query}")
    yield Page("board", "", "/admin/board/")
    yield Page("sales report", "page", reverse("report-sales"))


def _objects() -> Iterator[Page]:
    """The pages of the newest and of the oldest row of each list, and pages that show several models."""
    for model in admin.site._registry:
        name = model._meta.label_lower
        for way in ("newest", "oldest"):
            row = model._default_manager.order_by("-pk" if way == "newest" else "pk").first()
            if row is not None:
                change = f"admin:{name.replace('.', '_')}_change"
                yield Page(f"{name} page", way, reverse(change, args=[row.pk]))
    order = Order.objects.filter(status="paid").order_by("-id").first()
    if order is None:
        return
    yield Page("account page", "with orders", reverse("account-page", args=[order.account_id]))
    largest = Campaign.objects.order_by("-issued").values_list("pk", flat=True).first()
    yield Page("campaign results", "largest", reverse("campaign-results", args=[largest]))
    for model, id in ((Campaign, largest), (Order, order.pk)):
        name = model._meta.label_lower
        yield Page(f"{name} page", "busy", reverse(f"admin:{name.replace('.', '_')}_change", args=[id]))
    line = order.lines.first()
    if line is not None:
        yield Page("product page", "sold", reverse("product-page", args=[line.product_id]))


def _api(client: Client) -> Iterator[Page]:
    """The lists of the API as staff see them: first page, page after it, with each filter."""
    order = Order.objects.filter(status="paid").order_by("-id").first()
    product = Product.objects.order_by("-id").first()
    campaign = Campaign.objects.order_by("-issued").first()
    if not (order and product and campaign):
        raise ValueError("the tables are empty")
    states = {"status": list(Order.Status.values), "user": [str(order.account_id)]}
    coupons: dict[str, list[str]] = {"status": ["issued", "redeemed", "void", "expired"]}
    coupons |= {"campaign": [str(campaign.pk)], "user": [str(order.account_id)]}
    available: dict[str, list[str]] = {
        "search": ["Filled", UNKNOWN],
        "availability": ["in_stock", "sold_out"],
    }
    lists: list[tuple[str, dict[str, list[str]]]] = [
        ("/orders", states),
        ("/coupons", coupons),
        ("/campaigns", {}),
        (f"/campaigns/{campaign.pk}/codes", {"status": ["available", "issued", "void"]}),
        ("/products", available),
        (f"/products/{product.pk}/stock-movements", {}),
        ("/payments", {"user": [str(order.account_id)], "order": [str(order.pk)]}),
        (f"/orders/{order.pk}", {}),
        (f"/orders/{order.pk}/timeline", {}),
        (f"/orders/{order.pk}/refunds", {}),
        ("/wallet/entries", {}),
    ]
    for path, filters in lists:
        yield from _api_list(client, path, filters)


def _api_list(client: Client, path: str, filters: dict[str, list[str]]) -> Iterator[Page]:
    name = f"API {path.split('/')[1]}" + (f" {path.split('/')[-1]}" if path.count("/") > 2 else "")
    queries = ["", *(urlencode({key: value}) for key, values in filters.items() for value in values)]
    for query in queries:
        yield Page(name, query or "first page", f"{API}{path}?{query}")
        answer = client.get(f"{API}{path}?{query}")
        following = answer.json().get("next") if answer.status_code == 200 else None
        if following:
            parts = urlsplit(following)
            yield Page(name, f"{query} next page".strip(), f"{parts.path}?{parts.query}")
    if filters:
        yield Page(name, "200 rows", f"{API}{path}?limit=200")


if __name__ == "__main__":
    main()
