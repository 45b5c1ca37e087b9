"""Null in the bodies of PATCH: it empties what may be empty, and is refused elsewhere."""

from collections.abc import Iterator
from typing import Any

import pytest

from accounts.tests.clients import new_superuser
from coupons.models import CampaignProduct
from coupons.tests.factories import CampaignFactory, add_codes
from events.models import WebhookEndpoint
from foundation import clock
from foundation.http.validation import ChangeInput
from foundation.tests import openapi_document
from foundation.tests.factories import OrderFactory
from foundation.tests.instants import from_now
from foundation.tests.rolled_back import rolled_back
from inventory.tests.factories import ProductFactory
from sales.tests.factories import create_sale

pytestmark = pytest.mark.django_db
EMPTIED = {
    ("campaigns", "closes_at"): None,
    ("campaigns", "discount.max_discount_amount"): None,
    ("campaigns", "partner"): None,
    ("campaigns", "products"): [],
    ("campaigns", "shared_code"): None,
    ("campaigns", "quantity"): None,
    ("products", "limit_per_account"): None,
    ("products", "low_stock_threshold"): None,
    ("sales", "products"): [],
    ("webhook-endpoints", "description"): "",
}
"""What null leaves of each field that may be empty."""
NOT_SHOWN = {"low_stock_threshold"}


@pytest.fixture
def resources():
    """The path of an object of each kind, in which everything is set that null could empty."""
    product = ProductFactory(on_hand=1, limit_per_account=2, low_stock_threshold=3)
    campaign = CampaignFactory(
        closes_at=from_now(days=1),
        max_discount_amount=500,
        partner="convenience_store",
        is_limited_to_products=True,
    )
    CampaignProduct.objects.create(campaign=campaign, product=product)
    own = CampaignFactory(code_source="pool")
    add_codes(own, "A-CODE")
    endpoint = WebhookEndpoint.objects.create(
        url="https://192.0.2.1/",
        events=["*"],
        description="Books",
        secret="whsec_AAAA",
        created_at=clock.now(),
    )
    return {
        "/api/v1/campaigns/{campaign_id}": f"/campaigns/{campaign.pk}",
        "/api/v1/campaigns/{campaign_id}/codes/{code}": f"/campaigns/{own.pk}/codes/A-CODE",
        "/api/v1/products/{product_id}": f"/products/{product.pk}",
        "/api/v1/orders/{order_id}": f"/orders/{OrderFactory().pk}",
        "/api/v1/sales/{sale_id}": f"/sales/{create_sale(product).pk}",
        "/api/v1/webhook-endpoints/{endpoint_id}": f"/webhook-endpoints/{endpoint.pk}",
    }


def schemas_of_patches() -> Iterator[tuple[str, str]]:
    """The path of each PATCH, and the name of the schema of its body."""
    for path, calls in openapi_document.read()["paths"].items():
        if "patch" in calls:
            schema = calls["patch"]["requestBody"]["content"]["application/json"]["schema"]
            yield path, schema["$ref"].rpartition("/")[2]


def fields_of(name: str, prefix="") -> Iterator[tuple[str, bool]]:
    """The fields of a schema and of those in it, and whether the document lets them be null."""
    document = openapi_document.read()
    for field, schema in document["components"]["schemas"][name]["properties"].items():
        yield f"{prefix}{field}", {"type": "null"} in schema.get("anyOf", [])
        if "$ref" in schema:
            yield from fields_of(schema["$ref"].rpartition("/")[2], f"{field}.")


def null_at(field: str) -> dict[str, Any]:
    first, _, rest = field.partition(".")
    return {first: null_at(rest) if rest else None}


def value_at(body, field: str):
    for name in field.split("."):
        body = body[name]
    return body


def patch(api, path: str, body: dict[str, Any]):
    with rolled_back():
        return api.patch(path, body)


def test_null_in_a_patch_empties_what_may_be_empty_and_is_refused_elsewhere(resources):
    api, emptied = new_superuser(), {}
    for path, schema in schemas_of_patches():
        for field, may_be_null in fields_of(schema):
            answer = patch(api, resources[path], null_at(field))
            if may_be_null:
                assert answer.status_code == 200, (path, field, answer.content)
                shown = None if field in NOT_SHOWN else value_at(answer.json(), field)
                emptied[path.split("/")[3], field] = shown
            else:
                fields = [error["field"] for error in answer.json()["errors"]]
                assert (answer.status_code, fields) == (400, [field]), (path, field)

    assert emptied == EMPTIED


def test_the_body_of_every_patch_is_a_change_of_the_given_fields():
    names = {shape.__name__ for shape in ChangeInput.__subclasses__()}
    assert {schema for _, schema in schemas_of_patches()} <= names
