"""Generation of the OpenAPI document: scopes of its calls, the refusals of every call, and descriptions by
`settings.OPENAPI_TEXTS`.
"""

import re
from copy import deepcopy
from typing import Any

import orjson
from django.conf import settings
from drf_spectacular.openapi import AutoSchema

from foundation.http.messages import PROBLEM
from foundation.http.openapi import api_doc
from foundation.http.openapi.api_doc import Schema
from foundation.http.views import WITHOUT_KEYS


class Operations(AutoSchema):
    """What a view says of its calls beside what drf-spectacular reads."""

    def get_override_parameters(self) -> list[Any]:
        query = getattr(self.view, self.method.lower()).query
        return [parameter for shape in query for parameter in api_doc.query_parameters(shape)]

    def get_operation(self, *where: Any) -> Any:
        operation: Any = super().get_operation(*where)
        view: Any = self.view
        if scope := view.required_scopes(self.method.upper()):
            operation["x-scope"] = scope
        operation["x-limit"] = view.limit and self.method == "POST"
        return operation


def complete_document(result: Any, generator: Any, request: Any, public: bool) -> Any:
    """A hook of drf-spectacular that adds the generic refusals of the API, their headers, and descriptions.
    It also changes what generators of clients read in another way than it is meant.

    openapi-python-client asks for a token where security is an empty object, which means the same as no
    security at all.
    """
    schemas = result["components"].setdefault("schemas", {})
    schemas |= deepcopy(settings.OPENAPI_TEXTS["schemas"])
    for name, schema in schemas.items():
        schema.setdefault("description", "One page of a list.")
        api_doc.describe_fields(name, schema.get("properties", {}))
    meanings = {
        code: row[1] for rows in settings.OPENAPI_TEXTS["codes"].values() for code, row in rows.items()
    }
    for path, item in result["paths"].items():
        for method in {"get", "post", "put", "patch", "delete"} & item.keys():
            _complete_operation(method, path, item[method])
            _describe(item[method], schemas, meanings)
    _add_examples(result["paths"])
    return result


def _complete_operation(method: str, path: str, operation: Any) -> None:
    parameters = operation.setdefault("parameters", [])
    added = settings.OPENAPI_TEXTS["added_parameters"]
    has_key = any(one["name"] == "Idempotency-Key" for one in parameters)
    is_of_account = {"bearer": []} in operation.get("security", [])
    if method == "post" and is_of_account and not (has_key or path.startswith(WITHOUT_KEYS)):
        parameters.append(added["OPTIONAL_KEY"])
    if "x-scope" in operation:
        operation["security"].insert(1, {"api_key": []})
        parameters.append(added["FIRSTCOME_ACCOUNT"])
    kinds = _kinds_of(path, operation)
    for refusals in settings.OPENAPI_TEXTS["refusals"]:
        if refusals["of"] in kinds:
            _add_refusals(operation["responses"], refusals["status"], refusals["codes"])
    for header in settings.OPENAPI_TEXTS["headers"]:
        for status, response in operation["responses"].items():
            if header["of"] in kinds and status in header["statuses"]:
                response.setdefault("headers", {})[header["name"]] = header["is"]
    if not parameters:
        del operation["parameters"]
    if operation.get("security") == [{}]:
        operation["security"] = []


def _kinds_of(path: str, operation: Any) -> set[str]:
    """What `settings.OPENAPI_TEXTS` tells calls apart by."""
    security = operation.get("security", [])
    parameters = {one["name"]: one for one in operation["parameters"]}
    key = parameters.get("Idempotency-Key", {})
    # A body that is signed is read as raw bytes.
    is_signed = any(name.endswith("-Signature") for name in parameters)
    is_of_account = {"bearer": []} in security
    kinds = {
        "any": True,
        "signed": is_signed,
        "unsigned": not is_signed,
        "account": is_of_account,
        "signed in": is_of_account and {} not in security,
        "path": "{" in path,
        "body": "requestBody" in operation,
        "json": "requestBody" in operation and not is_signed,
        "key": key,
        "required key": key.get("required"),
        "scope": "x-scope" in operation,
        "limit": operation.pop("x-limit"),
    }
    return {kind for kind, is_one in kinds.items() if is_one}


def _add_examples(paths: Any) -> None:
    """Add the calls that `shop/tests/test_api_examples.py` makes of the running shop, and code for them."""
    operations = {one["operationId"]: one for item in paths.values() for one in item.values()}
    for example in orjson.loads((settings.BASE_DIR / "shop/api_examples.json").read_bytes()):
        operation, name = operations[example["operation"]], example.get("name", "Example")
        contents = [(operation["responses"][str(example["status"])], example["answer"])]
        if "samples" in example:
            contents.append((operation.get("requestBody", {}), example.get("body")))
            operation["x-codeSamples"] = [
                {"lang": language, "source": source} for language, source in example["samples"].items()
            ]
        for described, value in contents:
            for content in described.get("content", {}).values():
                content.setdefault("examples", {})[name] = {"value": value}


def _add_refusals(responses: Any, status: str, codes: list[str]) -> None:
    response = responses.setdefault(status, {})
    content = response.setdefault("content", {})
    known = content.get(PROBLEM, {}).get("schema", {}).get("properties", {}).get("code", {})
    all_codes = sorted({*known.get("enum", []), *codes})
    content.setdefault(PROBLEM, {})["schema"] = api_doc.problem_schema(all_codes)


def _describe(operation: Any, schemas: Schema, meanings: dict[str, str]) -> None:
    """Describe its parameters of the path, and the responses about which the view says nothing."""
    texts: Any = settings.OPENAPI_TEXTS
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            parameter["description"] = texts["parameters"].get(parameter["name"])
    for response in operation["responses"].values():
        content = response.get("content", {})
        if PROBLEM in content:
            codes = content[PROBLEM]["schema"]["properties"]["code"]["enum"]
            response["description"] = "\n".join([f"- `{code}`: {meanings.get(code)}" for code in codes])
        elif not response["description"] and content:
            name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
            response["description"] = re.split(r"(?<=\.)\s", schemas[name]["description"])[0]
    if "429" in operation["responses"]:
        names = [operation["operationId"], *["API_KEYS"] * ("x-scope" in operation)]
        limits = "; ".join([texts["limits"][name] for name in names if name in texts["limits"]])
        operation["responses"]["429"]["description"] += f"\n\nBy default: {limits}."
