"""The OpenAPI document has every call of the contract, and tells every answer, whatever is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import schemathesis
import yaml
from django.conf import settings
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounds
from hypothesis import strategies as some
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core import NotSet
from schemathesis.specs.openapi import checks

from coupons import pool
from coupons.allocation.writes import Queued
from coupons.issuing import issuing
from coupons.tests.factories import CampaignFactory
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.tests import buying
from shop.accounts import tokens
from shop.tests.factories import SuperuserFactory

# What is there of the contract's tables, and the list of payments that its `?user=` for staff implies.
CONTRACT = [
    "POST /users",
    "GET /users/me",
    "POST /auth/token",
    "POST /auth/refresh",
    "POST /auth/logout",
    "GET /campaigns",
    "GET /campaigns/{campaign_id}",
    "POST /coupons",
    "GET /coupons",
    "GET /coupons/{code}",
    "POST /campaigns",
    "PATCH /campaigns/{campaign_id}",
    "POST /campaigns/{campaign_id}/codes",
    "GET /campaigns/{campaign_id}/codes",
    "PATCH /campaigns/{campaign_id}/codes/{code}",
    "POST /coupons/{code}/void",
    "GET /queue-tickets/{ticket_id}",
    "GET /products",
    "GET /products/{product_id}",
    "POST /products",
    "PATCH /products/{product_id}",
    "POST /products/{product_id}/stock-adjustments",
    "GET /products/{product_id}/stock",
    "GET /products/{product_id}/stock-movements",
    "POST /orders",
    "GET /orders",
    "GET /orders/{order_id}",
    "GET /orders/{order_id}/timeline",
    "POST /orders/{order_id}/cancel",
    "POST /orders/{order_id}/refunds",
    "GET /orders/{order_id}/refunds",
    "POST /payments",
    "GET /payments",
    "GET /payments/{payment_id}",
    "GET /wallet",
    "GET /wallet/entries",
    "POST /wallet/top-ups",
    "POST /wallet/grants",
    "POST /webhooks/{gateway}",
]
KEYED = {
    "POST /products/{product_id}/stock-adjustments",
    "POST /orders",
    "POST /orders/{order_id}/refunds",
    "POST /payments",
    "POST /wallet/top-ups",
    "POST /wallet/grants",
}
# Not `positive_data_acceptance`: the document can't tell what the business refuses with a 400.
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.allow_header_conformance,
    checks.missing_required_header,
    checks.ignored_auth,
    checks.negative_data_rejection,
]
BOUNDS = bounds(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def document() -> Any:
    return Client().get("/api/schema/").json()


@pytest.fixture(scope="module")
def api(django_db_blocker: Any) -> Any:
    # The request's start looks after a connection that an earlier test may have left open.
    with django_db_blocker.unblock():
        return schemathesis.openapi.from_wsgi("/api/schema/", WSGIHandler())


@pytest.fixture
def _connections_stay_open() -> Iterator[None]:
    """As Django's own test client has it: a request that ends must not end the test's transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture(params=["superuser", "user"])
def caller(request: pytest.FixtureRequest) -> User:
    return SuperuserFactory.create() if request.param == "superuser" else buying.account(points=1_000)


def calls(document: Any) -> dict[str, Any]:
    return {
        f"{method.upper()} {path.removeprefix('/api/v1')}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_the_served_document_is_openapi_3_1_and_the_one_in_docs(document: Any) -> None:
    validate_schema(document)
    assert document["openapi"].startswith("3.1")
    assert document == yaml.safe_load(Path(settings.BASE_DIR, "docs/openapi.yaml").read_text())


def test_the_document_has_every_call_of_the_contract_and_no_other(document: Any) -> None:
    assert sorted(calls(document)) == sorted(CONTRACT)


def test_the_keyed_calls_are_those_of_the_contract(document: Any) -> None:
    keyed = {
        name
        for name, operation in calls(document).items()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
    }
    assert keyed == KEYED


@pytest.mark.django_db
@pytest.mark.usefixtures("_connections_stay_open")
@pytest.mark.parametrize("call", CONTRACT)
def test_whatever_is_asked_the_answer_is_one_that_the_document_tells(
    api: Any, caller: User, call: str
) -> None:
    method, path = call.split()
    headers = {"Authorization": f"Bearer {tokens.create_access_token(caller)}"}
    known = what_there_is(caller)
    if path.endswith("/refunds"):
        known["order_id"] = free_order_of(caller, known["product"])

    @BOUNDS
    @given(case=some.one_of(cases(api[f"/api/v1{path}"][method], known)))
    def conforms(case: Case) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    conforms()


def cases(operation: Any, known: dict[str, Any]) -> list[Any]:
    """Requests as the document has them, about what there is and about anything; and others than it has."""
    named = {name: value for name, value in known.items() if f"{{{name}}}" in operation.path}
    return [
        operation.as_strategy(path_parameters=named).map(lambda case: about(case, known)),
        operation.as_strategy(),
        operation.as_strategy(GenerationMode.NEGATIVE).filter(is_wrong),
    ]


def is_wrong(case: Case) -> bool:
    """Whether a request that is none of the document's is wrong here, where `?status=` asks for nothing."""
    return "" not in (case.query or {}).values()


def about(case: Case, known: dict[str, Any]) -> Case:
    if not isinstance(case.body, NotSet):
        case.body = put_into(case.body, known)
    return case


def put_into(body: Any, known: dict[str, Any]) -> Any:
    """The same body with the things that there are in its fields of those names."""
    if isinstance(body, dict):
        return {
            name: known[name] if name in known and value is not None else put_into(value, known)
            for name, value in body.items()
        }
    return [put_into(one, known) for one in body] if isinstance(body, list) else body


def free_order_of(caller: User, product_id: int) -> str:
    """An order that is paid without any gateway: its coupon covers it all.

    Of its product the account has two units in unpaid orders, of 1,000 that it may have.
    """
    coupon = buying.coupon_of(caller.pk, discount_value=10_000).code
    product = Product.objects.get(id=product_id)
    return str(buying.drive(buying.place(caller.pk, {product: 998}, coupon=coupon, token="")).id)


def ticket_of(caller: User) -> UUID:
    """A ticket that waits."""
    queued = issuing.issue(campaign_id=CampaignFactory.create(strategy="queue").pk, user_id=caller.pk)
    assert isinstance(queued, Queued)
    return queued.ticket.pk


def what_there_is(caller: User) -> dict[str, Any]:
    """What calls can be about, by the names of body fields and path parameters."""
    product = ProductFactory.create(on_hand=1_000_000, price=10)
    campaign = CampaignFactory.create(code_source="pool")
    pool.add(campaign_id=campaign.pk, codes=["A-CODE", "ANOTHER-CODE"])
    paid = buying.place(caller.pk, {product: 1}, token="tok_ok")
    unpaid = buying.place(caller.pk, {product: 1})
    assert paid.started
    return {
        "gateway": "simulator",
        "campaign_id": campaign.pk,
        "product_id": product.pk,
        "order_id": str(unpaid.order.id),
        "payment_id": str(paid.started.payment.id),
        "campaign": campaign.pk,
        "code": buying.coupon_of(caller.pk).code,
        "ticket_id": str(ticket_of(caller)),
        "product": product.pk,
        "order": str(unpaid.order.id),
        "user": caller.pk,
        "token": "tok_ok",
        "count": 3,
    }
