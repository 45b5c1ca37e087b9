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
