"""What each group of staff may do by the API: every call of staff, and every call that shows staff more."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from accounts.models import ApiKey
from coupons.models import Campaign, Coupon, QueueTicket
from coupons.tests.factories import CampaignFactory
from events.feed.reading import READ_EVENTS
from events.models import BUILT_IN, WebhookDelivery, WebhookEndpoint
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from payments.models import Payment
from sales.models import Sale, SaleEntry
from shop.tests import openapi_document, operators_page
from shop.tests.clients import Api, client_of
from shop.tests.factories import AccountFactory
from shop.tests.rolled_back import rolled_back
from shop.tests.staff_groups import NAMES, member_of

ROOT = Path(__file__).resolve().parents[2]
HEADING = "Calls of the API"
PERMISSION = re.compile(
    r'"((?:accounts|auth|coupons|events|inventory|orders|payments|sales|shop)\.[a-z]+_[a-z]+)"'
)
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_staff_groups", "_a_row_of_every_model")]


@dataclass(frozen=True)
class Call:
    """A call. It is allowed if its answer contains `shown`, or without that, if it is not refused."""

    path: str
    body: Any = None
    shown: str = ""


@pytest.fixture
def calls() -> Mapping[str, Call]:
    """Every row of the table, about rows of other accounts, with bodies that change nothing."""
    closed = CampaignFactory.create(opens_at="2020-01-01T00:00:00Z", closes_at="2020-01-02T00:00:00Z")
    inactive = ProductFactory.create(is_active=False)
    order, coupon, ticket = Order.objects.first(), Coupon.objects.first(), QueueTicket.objects.first()
    sale, entry, key = Sale.objects.get(), SaleEntry.objects.get(), ApiKey.objects.get()
    payment, product = Payment.objects.first(), Product.objects.filter(is_active=True).first()
    # What the order holds, which its cancellation releases.
    Product.objects.filter(pk=order.lines.get().product_id).update(reserved=1)
    campaign, other = Campaign.objects.exclude(pk=closed.pk).first(), AccountFactory.create().pk
    shown_order, shown_payment = f'"id":"{order.pk}"', f'"id":"{payment.pk}"'
    hooks = f"/webhook-endpoints/{WebhookEndpoint.objects.exclude(pk=BUILT_IN).first().pk}"
    return {
        "GET /campaigns": Call("/campaigns", shown=f'"id":{closed.pk},'),
        "GET /campaigns/{id}": Call(f"/campaigns/{closed.pk}"),
        "POST /campaigns": Call("/campaigns", {}),
        "PATCH /campaigns/{id}": Call(f"/campaigns/{campaign.pk}", {"quantity": "many"}),
        "POST /campaigns/{id}/pause": Call(f"/campaigns/{campaign.pk}/pause", {}),
        "POST /campaigns/{id}/resume": Call(f"/campaigns/{campaign.pk}/resume", {}),
        "POST /campaigns/{id}/eligible-accounts": Call(f"/campaigns/{campaign.pk}/eligible-accounts", {}),
        "GET /campaigns/{id}/codes": Call(f"/campaigns/{campaign.pk}/codes"),
        "POST /campaigns/{id}/codes": Call(f"/campaigns/{campaign.pk}/codes", {}),
        "PATCH /campaigns/{id}/codes/{code}": Call(f"/campaigns/{campaign.pk}/codes/NONE", {}),
        "GET /coupons": Call("/coupons", shown=f'"code":"{coupon.code}"'),
        "GET /coupons/{code}": Call(f"/coupons/{coupon.code}"),
        "POST /coupons": Call("/coupons", {"campaign": "none", "user": other}),
        "POST /coupons/{code}/void": Call(f"/coupons/{coupon.code}/void", {}),
        "GET /queue-tickets/{id}": Call(f"/queue-tickets/{ticket.pk}"),
        "POST /sales": Call("/sales", {}),
        "PATCH /sales/{id}": Call(f"/sales/{sale.pk}", {"rate_per_minute": "many"}),
        "POST /sales/{id}/pause": Call(f"/sales/{sale.pk}/pause", {}),
        "POST /sales/{id}/resume": Call(f"/sales/{sale.pk}/resume", {}),
        "GET /sale-entries/{id}": Call(f"/sale-entries/{entry.pk}"),
        "GET /products": Call("/products", shown=f'"id":{inactive.pk},'),
        "GET /products/{id}": Call(f"/products/{inactive.pk}"),
        "POST /products": Call("/products", {}),
        "PATCH /products/{id}": Call(f"/products/{product.pk}", {"price": "free"}),
        "POST /products/{id}/pause": Call(f"/products/{product.pk}/pause", {}),
        "POST /products/{id}/resume": Call(f"/products/{product.pk}/resume", {}),
        "GET /products/{id}/stock": Call(f"/products/{product.pk}/stock"),
        "POST /products/{id}/stock-adjustments": Call(f"/products/{product.pk}/stock-adjustments", {}),
        "GET /products/{id}/stock-movements": Call(f"/products/{product.pk}/stock-movements"),
        "GET /orders": Call("/orders", shown=shown_order),
        "GET /orders/{id}": Call(f"/orders/{order.pk}"),
        "GET /orders/{id}/timeline": Call(f"/orders/{order.pk}/timeline"),
        "POST /orders/{id}/cancel": Call(f"/orders/{order.pk}/cancel", {}),
        "GET /orders/{id}/refunds": Call(f"/orders/{order.pk}/refunds"),
        "POST /orders/{id}/refunds": Call(f"/orders/{order.pk}/refunds", {"items": "all"}),
        "GET /payments": Call("/payments", shown=shown_payment),
        "GET /payments/{id}": Call(f"/payments/{payment.pk}"),
        "POST /wallet/grants": Call("/wallet/grants", {}),
        "GET /api-keys": Call("/api-keys"),
        "POST /api-keys": Call("/api-keys", {}),
        "POST /api-keys/{id}/rotate": Call(f"/api-keys/{key.pk}/rotate", {"all": True}),
        "DELETE /api-keys/{id}": Call(f"/api-keys/{key.pk}"),
        "GET /events": Call("/events"),
        "GET /webhook-endpoints": Call("/webhook-endpoints"),
        "POST /webhook-endpoints": Call("/webhook-endpoints", {}),
        "GET /webhook-endpoints/{id}": Call(hooks),
        "PATCH /webhook-endpoints/{id}": Call(hooks, {"enabled": "yes"}),
        "GET /webhook-endpoints/{id}/deliveries": Call(f"{hooks}/deliveries"),
        "POST /webhook-endpoints/{id}/deliveries/{id}/resend": Call(
            f"{hooks}/deliveries/{WebhookDelivery.objects.first().pk}/resend", {}
        ),
        "POST /webhook-endpoints/{id}/rotate-secret": Call(f"{hooks}/rotate-secret", {}),
        "POST /webhook-endpoints/{id}/test": Call(f"{hooks}/test", {}),
        # The last row, for it may delete what the others are about.
        "DELETE /webhook-endpoints/{id}": Call(hooks),
    }


def is_allowed(api: Api, name: str, call: Call) -> bool:
    method = name.partition(" ")[0].lower()
    key = "" if method == "get" else f"{name} {id(api)}"
    answer = api._call(method.upper(), call.path, call.body, key, {})
    assert answer.status_code < 500, (name, answer.content)
    if call.shown:
        return call.shown in answer.content.decode().replace(" ", "")
    return answer.status_code not in (403, 404) or answer.json()["code"] not in (
        "permission_denied",
        "not_found",
        "campaign_not_found",
        "product_not_found",
    )


def test_every_call_is_open_to_the_groups_that_the_table_says(calls: Mapping[str, Call]) -> None:
    wrong = []
    for group in (*NAMES, ""):
        allowed = allowed_calls(member_of(group), calls)
        actual = {name: "yes" if name in allowed else "-" for name in calls}
        wrong.append(operators_page.differences(HEADING, group or "no group", actual))
    assert not any(wrong), "\n".join(wrong)


def test_customers_are_refused_all_of_them_whatever_the_groups_of_their_account(
    calls: Mapping[str, Call],
) -> None:
    was_staff = member_of("Operations")
    was_staff.is_staff = False
    was_staff.save()

    allowed = {account: allowed_calls(account, calls) for account in (AccountFactory.create(), was_staff)}

    assert not any(allowed.values()), allowed


def allowed_calls(account: User, calls: Mapping[str, Call]) -> list[str]:
    with rolled_back():
        api = client_of(account)
        return [name for name, call in calls.items() if is_allowed(api, name, call)]


def test_every_call_of_staff_in_the_contract_has_a_row() -> None:
    paths = openapi_document.read()["paths"]
    of_staff = {
        f"{method.upper()} {re.sub(r'{[a-z]+_id}', '{id}', path.removeprefix('/api/v1'))}"
        for path, methods in paths.items()
        for method, call in methods.items()
        if isinstance(call, dict) and "permission_denied" in str(call.get("responses", {}).get("403"))
    }

    missing = of_staff - operators_page.column(HEADING, "permission").keys()

    assert not missing, f"docs/operators.md, {HEADING}, and `calls` in this module: {missing}"


def test_every_permission_that_the_api_asks_for_has_a_row() -> None:
    asked = {READ_EVENTS}
    own = ("events/api.py", "accounts/api_keys/api.py")
    apps = ("coupons/api.py", "inventory/api.py", "orders/api.py", "payments/api.py", "sales/api.py")
    for module in (*apps, *own):
        asked |= set(PERMISSION.findall((ROOT / module).read_text()))

    assert asked == set(operators_page.column(HEADING, "permission").values())
