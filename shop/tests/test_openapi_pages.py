"""The OpenAPI document agrees with the contract, and its pages use no files of other hosts."""

import json
import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def document() -> Any:
    answer = Client().get("/api/schema/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    return answer.json()


def operations(document: Any) -> list[tuple[str, Any]]:
    return [
        (f"{method} {path}", item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def codes(operation: Any, status: int) -> set[str]:
    content = operation["responses"][str(status)]["content"]["application/problem+json"]
    return set(content["schema"]["properties"]["code"]["enum"])


def test_the_document_is_openapi_3_1_and_valid_without_a_warning(document: Any) -> None:
    output = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", stdout=output)

    assert document["openapi"] == "3.1.0"
    assert json.loads(output.getvalue()) == document


def test_errors_of_every_call_are_described_for_every_call(document: Any) -> None:
    for name, operation in operations(document):
        assert "unavailable" in codes(operation, 503), name
        if operation.get("security") == [{"bearer": []}]:
            assert {"not_authenticated", "token_invalid"} <= codes(operation, 401), name
        if "requestBody" in operation:
            assert "too_large" in codes(operation, 413), name
        if "requestBody" in operation and "webhooks" not in name:
            assert {"invalid", "malformed_json"} <= codes(operation, 400), name


def test_keyed_calls_describe_their_key_and_its_errors(document: Any) -> None:
    keyed = [
        operation
        for _, operation in operations(document)
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
    ]

    assert keyed
    for operation in keyed:
        answered = [reply for status, reply in operation["responses"].items() if status.startswith("2")]
        assert answered
        assert all("Idempotency-Replayed" in reply["headers"] for reply in answered)
        assert {"idempotency_key_missing", "idempotency_key_invalid"} <= codes(operation, 400)
        assert "idempotency_key_in_flight" in codes(operation, 409)
        assert codes(operation, 422) >= {"idempotency_key_reused"}


def test_each_call_names_the_scope_that_a_key_needs_and_what_it_is_refused_for(document: Any) -> None:
    cancel = document["paths"]["/api/v1/orders/{order_id}/cancel"]["post"]
    sign_in = document["paths"]["/api/v1/auth/token"]["post"]

    assert cancel["x-scope"] == "orders:write"
    assert "Firstcome-Account" in [parameter["name"] for parameter in cancel["parameters"]]
    assert codes(cancel, 403) == {"account_refused", "scope_missing"}
    assert cancel["responses"]["403"]["content"]["application/problem+json"]["schema"]["properties"]["scope"]
    assert "x-scope" not in sign_in and "403" not in sign_in["responses"]


def responses(document: Any) -> list[tuple[str, str, Any]]:
    return [
        (name, status, response)
        for name, operation in operations(document)
        for status, response in operation["responses"].items()
    ]


def test_every_example_fits_its_schema_and_its_status(document: Any) -> None:
    # Takes a second, which each process that collects the tests would spend.
    from jsonschema import Draft202012Validator

    checked = 0
    for name, status, response in responses(document):
        for content in response.get("content", {}).values():
            validator = Draft202012Validator(content["schema"] | {"components": document["components"]})
            for example in content.get("examples", {}).values():
                assert [error.message for error in validator.iter_errors(example["value"])] == [], name
                if "urn:firstcome" in str(example):
                    assert str(example["value"]["status"]) == status, name
                checked += 1
    assert checked >= 17


def test_every_429_and_503_requires_retry_after_and_a_409_allows_it(document: Any) -> None:
    found = {
        (status, response["headers"]["Retry-After"].get("required", False))
        for _, status, response in responses(document)
        if status in {"409", "429", "503"}
    }

    assert found == {("409", False), ("429", True), ("503", True)}


@pytest.mark.parametrize(
    ("path", "status", "member", "of"),
    [
        ("/orders", 402, "failure", {"code", "detail"}),
        ("/wallet/top-ups", 402, "failure", {"code", "detail"}),
        ("/orders", 409, "items", {"product", "requested", "available"}),
        ("/orders", 409, "items", {"product", "limit", "held"}),
        ("/orders/{order_id}/refunds", 409, "items", {"product", "requested", "refundable"}),
        ("/products/{product_id}/stock-adjustments", 409, "items", {"product", "requested", "available"}),
    ],
)
def test_the_further_members_of_a_problem_are_described_with_its_code(
    document: Any, path: str, status: int, member: str, of: set[str]
) -> None:
    response = document["paths"][f"/api/v1{path}"]["post"]["responses"][str(status)]
    schema = response["content"]["application/problem+json"]["schema"]["properties"][member]

    # Several codes may have a member of this name.
    alternatives = {
        frozenset(option.get("items", option)["properties"]): option
        for option in schema.get("anyOf", [schema])
    }
    assert alternatives[frozenset(of)]["description"].startswith("With `")


def test_no_field_has_a_default_because_generated_clients_would_require_it(document: Any) -> None:
    fields = [
        (schema, name, field)
        for schema, described in document["components"]["schemas"].items()
        for name, field in described.get("properties", {}).items()
    ]
    assert [(schema, name) for schema, name, field in fields if "default" in field] == []
    place = document["components"]["schemas"]["PlaceOrderInput"]["properties"]
    assert place["points_amount"]["description"] == "`0` if it is absent."
    assert "description" not in place["coupon"]


def test_the_pages_come_from_our_own_files_and_need_no_inline_script() -> None:
    page = Client().get("/api/docs/")
    html = page.content.decode()

    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe-eval" not in policy
    assert not re.findall(r"<script(?![^>]*\bsrc=)", html)
    links = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert links and all(link.startswith("/") for link in links)
    for link in links:
        if link.startswith("/static/"):
            assert finders.find(link.removeprefix("/static/")), link
