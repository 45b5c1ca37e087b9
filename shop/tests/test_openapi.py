"""The OpenAPI document, served with its pages, describes every response to any request."""

import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import schemathesis
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings as bounds, strategies as some
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core import NotSet
from schemathesis.specs.openapi import checks

from accounts.tokens import token_pairs
from coupons import issuing, redemption
from coupons.tests.factories import CampaignFactory, add_codes
from events.models import WebhookEndpoint
from events.webhooks import deliveries
from foundation import clock
from foundation.http.openapi.api_doc import SizedQuery
from foundation.http.validation import Query
from foundation.tests import openapi_document
from foundation.tests.factories import SuperuserFactory
from foundation.tests.rolled_back import rolled_back
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.tests import buying
from sales.tests.factories import create_sale, join
from shop.configuration import SETTINGS

KEYED = {
    "POST /products/{product_id}/stock-adjustments",
    "POST /orders",
    "POST /orders/{order_id}/refunds",
    "POST /payments",
    "POST /wallet/top-ups",
    "POST /wallet/grants",
}
# Not `positive_data_acceptance`: the document can't describe which valid data the domain refuses with a 400.
CHECKS = [
    *(not_a_server_error, checks.status_code_conformance, checks.content_type_conformance),
    *(checks.response_headers_conformance, checks.response_schema_conformance),
    *(checks.allow_header_conformance, checks.missing_required_header, checks.ignored_auth),
    checks.negative_data_rejection,
]
LIMITS = {
    "claimCoupon": SETTINGS["RATE_COUPONS"]["default"],
    "placeOrder": SETTINGS["RATE_ORDERS"]["default"],
    "payOrder": SETTINGS["RATE_PAYMENTS"]["default"],
    "topUpWallet": SETTINGS["RATE_TOP_UPS"]["default"],
}
BOUNDS = bounds(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def api(django_db_blocker):
    # At the start of the request Django closes a connection that an earlier test may have left open.
    with django_db_blocker.unblock():
        return schemathesis.openapi.from_wsgi("/api/schema/", WSGIHandler())


@pytest.fixture
def _connections_stay_open():
    """As in Django's test client, the end of a request must not close the test's transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


CALLERS = {"superuser": SuperuserFactory.create, "user": lambda: buying.account(points=1_000)}


def calls(document) -> dict[str, Any]:
    return {
        f"{method.upper()} {path.removeprefix('/api/v1')}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_the_served_document_is_the_one_in_docs(document):
    assert document == openapi_document.read()


def test_the_keyed_calls_are_those_of_the_contract(document):
    keyed = {
        name
        for name, operation in calls(document).items()
        if any(
            parameter["name"] == "Idempotency-Key" and parameter.get("required")
            for parameter in operation.get("parameters", [])
        )
    }
    assert keyed == KEYED


@pytest.mark.usefixtures("_connections_stay_open")
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("examples", [4, pytest.param(30, marks=pytest.mark.long)])
def test_every_response_is_described_by_the_document(db, api, document, redis_server, caller, examples):
    account = CALLERS[caller]()
    existing = existing_objects(account)
    free_order = free_order_of(account, existing["product"])
    undescribed = []
    for call in calls(document):
        method, path = call.split()
        of_call = existing | ({"order_id": free_order} if path.endswith("/refunds") else {})
        redis_server.flushdb()
        with rolled_back():
            try:
                conforms(api[f"/api/v1{path}"][method], account, of_call, examples)
            except (Exception, BaseExceptionGroup) as error:
                undescribed.append(f"{call}: {error!r}")
    assert not undescribed, "\n".join(undescribed)


def conforms(operation, account: User, existing: dict[str, Any], examples: int):
    access = token_pairs.create_access_token(account)
    # Its client would take gzip, and reads none.
    headers = {"Authorization": f"Bearer {access}", "Accept-Encoding": "identity"}

    @bounds(BOUNDS, max_examples=examples)
    @given(case=some.one_of(cases(operation, existing)))
    def is_described(case):
        case.call_and_validate(headers=headers, checks=CHECKS)

    is_described()


def cases(operation, existing: dict[str, Any]) -> list[Any]:
    """Requests that conform to the document, with existing and with arbitrary ids; and others that don't."""
    named = {name: value for name, value in existing.items() if f"{{{name}}}" in operation.path}
    return [
        operation.as_strategy(path_parameters=named).map(lambda case: about(case, existing)),
        operation.as_strategy(),
        # An empty query parameter such as `?status=` is allowed.
        operation.as_strategy(GenerationMode.NEGATIVE).filter(
            lambda case: "" not in (case.query or {}).values()
        ),
    ]


def about(case, existing: dict[str, Any]) -> Case:
    if not isinstance(case.body, NotSet):
        case.body = put_into(case.body, existing)
    return case


def put_into(body, existing: dict[str, Any]):
    """The body with existing ids in the fields of their names."""
    if isinstance(body, dict):
        return {
            name: existing[name] if name in existing and value is not None else put_into(value, existing)
            for name, value in body.items()
        }
    return [put_into(item, existing) for item in body] if isinstance(body, list) else body


def free_order_of(caller: User, product_id: int) -> str:
    """An order that is paid without a gateway, because its coupon covers the whole amount.

    The account has two more units of the product in unpaid orders, and may have 1,000.
    """
    coupon = buying.coupon_code(caller, discount_value=10_000)
    product = Product.objects.get(id=product_id)
    return str(buying.buy(caller, {product: 998}, coupon=coupon, token="").id)


def existing_objects(caller: User) -> dict[str, Any]:
    """Ids of existing objects, by the names of body fields and path parameters."""
    product = ProductFactory(on_hand=1_000_000, price=10)
    campaign = CampaignFactory(code_source="pool")
    queued = issuing.issue(campaign_id=CampaignFactory(strategy="queue").pk, user_id=caller.pk)
    sale = create_sale(admission="queue")
    add_codes(campaign, "A-CODE", "ANOTHER-CODE")
    paid = buying.place(caller, product, token="tok_ok")
    unpaid = buying.place(caller, product)
    assert paid.started
    endpoint = WebhookEndpoint.objects.create(
        url="https://192.0.2.1/", events=["*"], secret="whsec_AAAA", created_at=clock.now()
    )
    return {
        "endpoint_id": str(endpoint.pk),
        "delivery_id": deliveries.send_test(endpoint_id=endpoint.pk).pk,
        "gateway": "simulator",
        "campaign_id": campaign.pk,
        "product_id": product.pk,
        "order_id": str(unpaid.order.id),
        "payment_id": str(paid.started.payment.id),
        "campaign": campaign.pk,
        "code": buying.coupon_code(caller),
        "ticket_id": str(queued.ticket.pk),
        "sale_id": sale.pk,
        "entry_id": str(join(sale, caller).id),
        "product": product.pk,
        "order": str(unpaid.order.id),
        "user": caller.pk,
        "token": "tok_ok",
        "count": 3,
    }


@pytest.fixture(scope="module")
def document():
    answer = Client().get("/api/schema/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    return answer.json()


def codes(operation, status: int) -> set[str]:
    content = operation["responses"][str(status)]["content"]["application/problem+json"]
    return set(content["schema"]["properties"]["code"]["enum"])


def test_the_document_is_openapi_3_1_and_valid_without_a_warning(document):
    output = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", stdout=output)

    assert document["openapi"] == "3.1.0"
    assert json.loads(output.getvalue()) == document


def test_errors_of_every_call_are_described_for_every_call(document):
    for name, operation in calls(document).items():
        assert "unavailable" in codes(operation, 503), name
        if operation.get("security") == [{"bearer": []}]:
            assert {"not_authenticated", "token_invalid"} <= codes(operation, 401), name
        if "requestBody" in operation:
            assert "too_large" in codes(operation, 413), name
        if "requestBody" in operation and "webhooks" not in name:
            assert {"invalid", "malformed_json"} <= codes(operation, 400), name


def responses(document) -> list[tuple[str, str, Any]]:
    return [
        (name, status, response)
        for name, operation in calls(document).items()
        for status, response in operation["responses"].items()
    ]


def parts(document) -> Iterator[tuple[str, Any]]:
    """What has to be described, each by its address in the document."""
    yield from ((f"tag {tag['name']}", tag) for tag in document["tags"])
    yield from document["components"]["schemas"].items()
    for name, operation in calls(document).items():
        yield name, operation
        yield from ((f"{name} {one['name']}", one) for one in operation.get("parameters", []))
    for name, status, response in responses(document):
        yield f"{name} {status}", response
        yield from response.get("headers", {}).items()
    for address, node in nodes(document):
        if isinstance(node, dict) and address.endswith("/properties"):
            yield from ((f"{address}/{name}", field) for name, field in node.items())


def nodes(node, address="") -> Iterator[tuple[str, Any]]:
    yield address, node
    if isinstance(node, dict | list):
        for name, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from nodes(inner, f"{address}/{name}")


def test_every_part_has_a_description_and_every_call_a_summary_and_a_name(document):
    operations = calls(document).values()
    assert [address for address, part in parts(document) if not part.get("description", "").strip()] == []
    assert [one["operationId"] for one in operations if not one["summary"] or "security" not in one] == []
    ids = [one["operationId"] for one in operations]
    assert len({*ids}) == len(ids) and all(re.fullmatch("([a-z]+[A-Z]?)+", one) for one in ids)
    names = {address.rpartition("/")[2] for address, _ in nodes(document)}
    assert {name for name in names if name.startswith("x-")} == {"x-scope", "x-codeSamples"}
    tags = [tag["name"] for tag in document["tags"]]
    assert tags[0] == "orders" and {one["tags"][0] for one in operations} == {*tags}


def test_the_texts_of_the_document_are_of_what_the_shop_has(document):
    texts = settings.OPENAPI_TEXTS
    fields = {name: {*one.get("properties", {})} for name, one in document["components"]["schemas"].items()}
    queries = [*Query.__subclasses__(), *SizedQuery.__subclasses__()]
    fields |= {query.__name__: {*query.model_fields} for query in queries}
    for names, described in texts["fields"].items():
        known = fields.keys() if names == "any" else names.split()
        assert set[str]().union(*(fields[name] for name in known)) >= described.keys(), names
    ids = {operation["operationId"] for operation in calls(document).values()}
    assert texts["limits"].keys() - {"API_KEYS"} <= ids
    for name, limit in LIMITS.items():
        assert f"{limit.replace('/m', ' a minute')} and" in texts["limits"][name]
    assert texts["members"].keys() <= {code for rows in texts["codes"].values() for code in rows}
    assert {*texts["members"]["coupon_not_usable"]["reason"]["enum"]} == redemption.REASONS.keys()


def test_every_429_and_503_requires_retry_after_and_a_409_allows_it(document):
    found = {
        (status, response["headers"]["Retry-After"].get("required", False))
        for _, status, response in responses(document)
        if status in {"409", "429", "503"}
    }

    assert found == {("409", False), ("429", True), ("503", True)}


def test_the_pages_come_from_our_own_files_and_need_no_inline_script():
    page = Client().get("/api/docs/")
    html = page.text

    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe-eval" not in policy
    assert not re.findall(r"<script(?![^>]*\bsrc=)", html)
    links = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert links and all(link.startswith("/") for link in links)
    for link in links:
        if link.startswith("/static/"):
            assert finders.find(link.removeprefix("/static/")), link
