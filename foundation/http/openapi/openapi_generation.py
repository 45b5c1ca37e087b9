"""Generation of the OpenAPI document: scopes of its calls, the refusals of every call, and descriptions by
`settings.OPENAPI_TEXTS`.
"""

import re
from typing import Any

import orjson
from django.conf import settings
from drf_spectacular.openapi import AutoSchema

from foundation.http.messages import PROBLEM
from foundation.http.openapi import api_doc
from foundation.http.openapi.api_doc import Schema
from foundation.http.views import WITHOUT_KEYS

REFUSALS_OF_KEYS = {
    400: ["account_required", "invalid"],
    403: ["account_refused", "scope_missing"],
    429: ["throttled"],
}


class Operations(AutoSchema):
    """What a view says of its calls beside what drf-spectacular reads."""

    def get_override_parameters(self) -> list[Any]:
        query = getattr(self.view, self.method.lower()).query
        return [parameter for shape in query for parameter in api_doc.query_parameters(shape)]

    def get_operation(self, *where: Any) -> Any:
        operation = super().get_operation(*where)
        required_scopes = getattr(self.view, "required_scopes", None)
        if operation is not None and required_scopes and (scope := required_scopes(self.method.upper())):
            operation["x-scope"] = scope
        if operation is not None and getattr(self.view, "limit", None) and self.method == "POST":
            operation["x-limit"] = True
        return operation


def complete_document(result: Any, generator: Any, request: Any, public: bool) -> Any:
    """A hook of drf-spectacular that adds the generic refusals of the API, their headers, and descriptions.
    It also changes what generators of clients read in another way than it is meant.

    openapi-python-client asks for a token where security is an empty object, which means the same as no
    security at all.
    """
    schemas = result["components"].setdefault("schemas", {})
    schemas["FieldError"] = api_doc.FieldError.model_json_schema()
    schemas["Problem"] = api_doc.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas["Problem"].pop("$defs", None)
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
    is_of_account = {"bearer": []} in operation.get("security", [])
    if method == "post" and is_of_account and not (_key_of(operation) or path.startswith(WITHOUT_KEYS)):
        operation.setdefault("parameters", []).append(api_doc.OPTIONAL_KEY)
    refusals = [*_generic_refusals(path, operation).items()]
    if "x-scope" in operation:
        operation["security"].insert(1, {"api_key": []})
        operation.setdefault("parameters", []).append(api_doc.FIRSTCOME_ACCOUNT)
        refusals = [*REFUSALS_OF_KEYS.items(), *refusals]
    for status, codes in refusals:
        _add_refusals(operation["responses"], status, codes)
    _add_headers(operation)
    operation.pop("x-limit", None)
    if operation.get("security") == [{}]:
        operation["security"] = []


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


def _generic_refusals(path: str, operation: Any) -> dict[int, list[str]]:
    # Of a query parameter that the call doesn't have, at least.
    codes: dict[int, list[str]] = {400: ["invalid"], 503: ["unavailable"]}
    security = operation.get("security", [])
    if {"bearer": []} in security:
        codes[401] = ["token_invalid"] if {} in security else ["not_authenticated", "token_invalid"]
    if "{" in path:
        codes[404] = ["not_found"]
    if "requestBody" in operation:
        codes |= {408: ["request_timeout"], 503: ["overloaded", "unavailable"]}
    # A body that is signed is read as raw bytes.
    if any(parameter["name"].endswith("-Signature") for parameter in operation.get("parameters", [])):
        codes[413] = ["too_large"]
        del codes[400]
    elif "requestBody" in operation:
        codes |= {400: ["invalid", "malformed_json"], 413: ["too_large"], 415: ["unsupported_media_type"]}
    if key := _key_of(operation):
        missing = ["idempotency_key_missing"] if key.get("required") else []
        codes.setdefault(400, []).extend(["idempotency_key_invalid", *missing])
        codes |= {409: ["idempotency_key_in_flight"], 422: ["idempotency_key_reused"]}
    return codes


def _add_refusals(responses: Any, status: int, codes: list[str]) -> None:
    response = responses.setdefault(str(status), {})
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


def _add_headers(operation: Any) -> None:
    for status, response in operation["responses"].items():
        headers = response.get("headers", {})
        if status in {"429", "503"}:
            headers["Retry-After"] = _header("integer", "Seconds to wait before a retry.", required=True)
        if status == "409":
            says = "Seconds to wait before a retry, if the conflict is temporary."
            headers["Retry-After"] = _header("integer", says)
        if status == "401":
            headers["WWW-Authenticate"] = _header("string", "`Bearer`")
        if _key_of(operation) and status in {"200", "201", "202", "402"}:
            replayed = _header("string", "This is the recorded answer of an earlier call with the key.")
            replayed["schema"]["enum"] = ["true"]
            headers["Idempotency-Replayed"] = replayed
            headers["Location"] = _header("string", "The address of the created resource.")
        if "x-limit" in operation and status in {"200", "201", "202", "402", "409", "429"}:
            headers["RateLimit-Policy"] = _header("string", "The account's limit: so many calls in a window.")
            headers["RateLimit"] = _header("string", "The calls that are left, and for how many seconds.")
        if headers:
            response["headers"] = headers


def _header(kind: str, description: str, **more: bool) -> Schema:
    return {"schema": {"type": kind}, "description": description, **more}


def _key_of(operation: Any) -> Any:
    """The parameter of the idempotency key; None for a call without one."""
    found = (one for one in operation.get("parameters", []) if one["name"] == "Idempotency-Key")
    return next(found, None)
