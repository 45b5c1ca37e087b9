"""Who may make which call of the API: every route and method of the URL table has a line in docs/security.md.

What groups of staff may do beyond it is docs/operators.md's, which test_rights_api compares.
"""

import re
from collections.abc import Iterator, Mapping
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.urls import URLPattern

from coupons.models import Campaign, Coupon, QueueTicket
from inventory.models import Product
from orders.models import Order
from payments.models import Payment
from sales.models import SaleEntry
from shop.models import ApiKey
from shop.tests import operators_page
from shop.tests.clients import Api, client_of
from shop.tests.factories import AccountFactory
from shop.tests.rolled_back import rolled_back
from shop.tests.test_admin_pages import _a_row_of_every_model
from shop.urls import API
from shop.webhook_models import WebhookEndpoint

__all__ = ["_a_row_of_every_model"]
HEADING = "Who may make which call"
METHODS = ("get", "post", "put", "patch", "delete")
OPEN = "open"
"""The call is answered, or refused for its body alone."""
REFUSALS = {401: "401", 403: "403", 404: "404"}
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_a_row_of_every_model")]


def calls() -> Iterator[tuple[str, str, URLPattern]]:
    for route in API:
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(route.pattern))
        for method in METHODS:
            if hasattr(route.callback.view_class, method):
                yield f"{method.upper()} /{path}", method, route


def access(api: Api, method: str, path: str) -> str:
    """`open`, or the status that refuses the caller. Bodies are empty, so an open call changes little."""
    body = None if method == "get" else {}
    key = "" if method == "get" else uuid4().hex
    answer = api._call(method.upper(), path, body, key, {})
    assert answer.status_code < 500, (method, path, answer.content)
    is_problem = answer.headers["Content-Type"].startswith("application/problem")
    # The calls that sign in refuse what the body says, and no caller.
    is_about_the_body = is_problem and answer.json()["code"] in ("invalid_credentials", "token_invalid")
    return OPEN if is_about_the_body else REFUSALS.get(answer.status_code, OPEN)


@pytest.fixture
def owners() -> Mapping[str, tuple[str, User | None]]:
    """By the name of a path's variable: a row, and its owner, None where it has none."""
    order, coupon, ticket = Order.objects.get(), Coupon.objects.get(), QueueTicket.objects.get()
    payment, entry = Payment.objects.get(), SaleEntry.objects.get()
    Product.objects.filter(pk=order.lines.get().product_id).update(reserved=1)
    return {
        "orders/{order_id}": (str(order.pk), User.objects.get(pk=order.account_id)),
        "coupons/{code}": (coupon.code, User.objects.get(pk=coupon.account_id)),
        "queue-tickets/{ticket_id}": (str(ticket.pk), User.objects.get(pk=ticket.account_id)),
        "payments/{payment_id}": (str(payment.pk), User.objects.get(pk=payment.account_id)),
        "sale-entries/{entry_id}": (str(entry.pk), User.objects.get(pk=entry.account_id)),
        "sales/{sale_id}": (str(entry.sale_id), None),
        "campaigns/{campaign_id}": (str(Campaign.objects.first().pk), None),
        "products/{product_id}": (str(Product.objects.first().pk), None),
        "webhooks/{gateway}": ("simulator", None),
        "webhook-endpoints/{endpoint_id}": (str(WebhookEndpoint.objects.first().pk), None),
        "api-keys/{key_id}": (str(ApiKey.objects.first().pk), None),
    }


def concrete(name: str, owners: Mapping[str, tuple[str, User | None]]) -> tuple[str, User | None]:
    """The path of a call about an existing row, and the account that owns the row."""
    path = name.partition(" /")[2]
    for prefix, (value, owner) in owners.items():
        if path.startswith(prefix):
            rest = path.removeprefix(prefix).replace("{code}", "NONE").replace("{delivery_id}", "1")
            return f"/{prefix.partition('{')[0]}{value}{rest}", owner
    assert "{" not in path, f"name a row for {path} in `owners`"
    return f"/{path}", None


def test_every_route_and_method_is_open_to_those_that_the_table_says(
    owners: Mapping[str, tuple[str, User | None]],
) -> None:
    other, wrong = AccountFactory.create(), []
    for column in ("no account", "another account", "its owner"):
        actual = {}
        with rolled_back():
            for name, method, _ in calls():
                path, owner = concrete(name, owners)
                caller = {"no account": None, "another account": other, "its owner": owner}[column]
                is_asked = column != "its owner" or owner is not None
                actual[name] = access(client_of(caller), method, path) if is_asked else ""
        wrong.append(operators_page.differences(HEADING, column, actual, page=operators_page.SECURITY))
    assert not any(wrong), "\n".join(wrong)
