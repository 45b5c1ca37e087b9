"""A wrong body is answered by little, whatever it is: at most 20 errors and 16 KiB.

58 KB of 7,000 unknown fields were answered by 612 KB, to anybody and uncounted: eight connections slowed the
calls of all others from 2 to some 300 ms.
"""

import re
from typing import Any
from uuid import uuid4

import pytest

from shop.tests import openapi_document
from shop.tests.clients import client_of
from shop.tests.factories import SuperuserFactory

LARGEST_ANSWER = 16 * 1024
NEARLY_64_KIB = 64_000

pytestmark = pytest.mark.django_db(transaction=True)


def bodies(properties: dict[str, Any]) -> dict[str, Any]:
    """Bodies of nearly 64 KiB that nothing takes, by what is wrong with them."""
    found: dict[str, Any] = {
        "many unknown fields": {f"x{number:04}": 1 for number in range(5_000)},
        "some unknown fields": {f"x{number:03}" + "y" * 60: 1 for number in range(990)},
        "an unknown field with a long name": {"x" * NEARLY_64_KIB: 1},
        "fields in fields": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        "no object": [1] * 20_000,
    }
    for name in properties:
        found |= {
            f"many fields in {name}": {name: {f"x{number:04}": 1 for number in range(5_000)}},
            f"a list of wrong values in {name}": {name: ["?"] * 12_000},
            f"a list of objects in {name}": {name: [{"y" * 70: 1}] * 800},
            f"a long text in {name}": {name: "x" * NEARLY_64_KIB},
        }
    return found


def test_any_answer_to_a_wrong_body_is_small() -> None:
    document = openapi_document.read()
    staff, anybody = client_of(SuperuserFactory.create()), client_of()
    wrong, count = [], 0
    for path, operations in document["paths"].items():
        for method in ("post", "patch", "put"):
            content = operations.get(method, {}).get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            if not schema:
                continue
            name = schema.get("$ref", "").rpartition("/")[2]
            properties = document["components"]["schemas"].get(name, schema).get("properties", {})
            address = re.sub(r"\{[^}]+\}", lambda part: str(uuid4()) if "id" in part[0] else "1", path)
            for caller in (anybody, staff):
                for about, body in bodies(properties).items():
                    count += 1
                    answer = getattr(caller, "patch" if method == "put" else method)(
                        address, body, key=str(uuid4())
                    )
                    errors = answer.json().get("errors", []) if answer.content else []
                    if answer.status_code >= 500 or len(answer.content) > LARGEST_ANSWER or len(errors) > 20:
                        wrong.append(
                            (method, path, about, answer.status_code, len(answer.content), len(errors))
                        )
    assert wrong == []
    assert count > 500
