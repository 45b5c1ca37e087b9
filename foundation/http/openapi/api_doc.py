"""How views describe themselves in the OpenAPI document, beyond their bodies.

```python
@api_doc.extend_schema(
    request=IssueCouponInput,
    responses={201: CouponBody},
    refused={404: ["campaign_not_found"], 409: ["sold_out"]},
)
```
Refusals that every call may return are added by `foundation.http.openapi.openapi_generation`. Further
members of a problem belong to its code: an app declares them once, by `declare_members`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import orjson
from drf_spectacular import utils
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from pydantic import BaseModel, ConfigDict, Field

from foundation import scopes
from foundation.errors import FirstcomeError
from foundation.http import json_format, problems
from foundation.http.messages import PROBLEM
from foundation.http.pagination import DEFAULT_PAGE, LARGEST_PAGE

Row = TypeVar("Row")
Schema = dict[str, Any]
"""A part of the document, as JSON Schema has it."""


def extend_schema(
    *,
    refused: Mapping[int, Sequence[str]] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    page_of: type[BaseModel] | None = None,
    **about: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """drf-spectacular's, which notes for `View` the query parameters, and whether the method reads a key.

    `refused` has the codes of refusals by status, besides those that every call may return. With `page_of`
    the call is a list in pages, and its rows have these bodies.
    """
    if page_of:
        parameters = [*parameters, *PAGING]
        about["responses"] = {200: Page.__class_getitem__(page_of)} | about.get("responses", {})
    if refused:
        about["responses"] |= refusals(refused)

    def described(method: Any) -> Any:
        method.query_parameters = {one.name for one in parameters if one.location == OpenApiParameter.QUERY}
        if IDEMPOTENCY_KEY in parameters:
            method.reads_key = True
        return utils.extend_schema(parameters=parameters, **about)(method)

    return described


class FieldError(BaseModel):
    """One wrong field of a request."""

    field: str
    code: str
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457). Programs branch on `code`; some problems have further members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str = Field(description="The request's id, as in `X-Request-ID`.")
    errors: list[FieldError] | None = None


class Page(BaseModel, Generic[Row]):
    """One page of a list: `Page[CouponBody]` is named `CouponBodyPage` in the document."""

    results: list[Row]
    next: str | None
    previous: str | None

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        return f"{params[0].__name__}Page"


STAFF_ONLY = {403: ["permission_denied"]}
"""What calls refuse that are for staff alone."""
POSITIVE = {"type": "integer", "minimum": 1}
PAGING = [
    OpenApiParameter(
        "limit",
        POSITIVE | {"maximum": LARGEST_PAGE},
        description=f"How many rows: {DEFAULT_PAGE} by default, {LARGEST_PAGE} at most.",
    ),
    OpenApiParameter("cursor", str, description="The position in the list, from `next` or `previous`."),
]
OWNER = [
    OpenApiParameter("account", POSITIVE, description="For staff: only this account's."),
    OpenApiParameter("user", POSITIVE, deprecated=True, description="The former name of `account`."),
]
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": r'^(?!""$)[!-~]([ -~]{0,253}[!-~])?$'},
    OpenApiParameter.HEADER,
    required=True,
    description="1 to 255 printable ASCII characters, bare or quoted; a request is done once per key.",
)
OPTIONAL_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "schema": IDEMPOTENCY_KEY.type,
    "description": "With one the request is done once per key; a repeat gets the recorded answer, with null "
    "for a `secret`.",
}
FIRSTCOME_ACCOUNT = {
    "in": "header",
    "name": scopes.ACCOUNT_HEADER,
    "schema": {"type": "string"},
    "description": "For API keys with the scope `act`: the number of the account that the key acts for; "
    "without a key it is ignored.",
}
PREFER_WAIT = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description="`wait=N` (N up to 30): respond when it has settled, or after N seconds.",
)

LOCATION = OpenApiParameter(
    "Location",
    str,
    OpenApiParameter.HEADER,
    response=[201],
    description="The address of the created resource.",
)


CACHED_LIST = (
    "What customers and anonymous clients are shown is at most a second old when their request arrives, and "
    "has an `ETag`: with it in `If-None-Match` a list that has not changed is 304, without a body."
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of the list as it was read before; or several, separated by commas.",
)
ETAG = OpenApiParameter(
    "ETag", str, OpenApiParameter.HEADER, response=[200, 304], description="Changes with the list."
)
NOT_MODIFIED = OpenApiResponse(description="The list is as it was with that `ETag`.")
INTEGER = {"type": "integer"}
_members: dict[str, Mapping[str, Schema]] = {}


def array_of_objects(**columns: Schema) -> Schema:
    return {"type": "array", "items": {"type": "object", "properties": columns, "required": list(columns)}}


def declare_members(code: str, **members: Schema) -> None:
    """Declare the further members of problems with this code, each by its schema and description."""
    _members[code] = members


def refusals(codes: Mapping[int, Sequence[str]]) -> dict[tuple[int, str], OpenApiResponse]:
    """The problems that a view may return, by status, for `extend_schema(responses=...)`."""
    return {
        (status, PROBLEM): OpenApiResponse(response=problem_schema(named), description=describe_codes(named))
        for status, named in codes.items()
    }


def problem_schema(codes: Sequence[str]) -> Schema:
    """The schema of a problem with one of these codes, with the further members of each.

    openapi-python-client reads the reference alone, so clients take codes that are added later.
    """
    members: dict[str, list[Schema]] = {}
    for code in sorted(codes):
        for name, member in _members.get(code, {}).items():
            described = f"With `{code}`: {member['description']}"
            members.setdefault(name, []).append(member | {"description": described})
    properties: Schema = {"code": {"type": "string", "enum": sorted(codes)}}
    for name, several in members.items():
        properties[name] = several[0] if len(several) == 1 else {"anyOf": several}
    return {"allOf": [{"$ref": "#/components/schemas/Problem"}], "type": "object", "properties": properties}


def refusal_example(name: str, error: FirstcomeError) -> OpenApiExample:
    response = problems.from_error(error)
    response.name_request("checkout-7")
    problem: Any = orjson.loads(response.body)
    return response_example(name, response.status_code, problem, media_type=PROBLEM)


def response_example(
    name: str, status: int, body: Mapping[str, Any], *, media_type: str = "application/json"
) -> OpenApiExample:
    return OpenApiExample(
        name,
        value=orjson.loads(json_format.dump(body)),
        media_type=media_type,
        status_codes=[str(status)],
        response_only=True,
    )


def describe_codes(codes: Sequence[str]) -> str:
    return " · ".join(f"`{code}`" for code in sorted(codes))
