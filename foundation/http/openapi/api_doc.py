"""How views describe themselves in the OpenAPI document, beyond their bodies.

```python
@api_doc.extend_schema(
    request=IssueCouponInput,
    responses={201: CouponBody},
    refused={404: ["campaign_not_found"], 409: ["sold_out"]},
)
```
Refusals that every call may return are added by `foundation.http.openapi.openapi_generation`. What fields and
codes mean, and the further members of problems, is in `shop/openapi.toml`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

from django.conf import settings
from drf_spectacular import utils
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from pydantic import BaseModel, Field

from foundation.http.messages import PROBLEM
from foundation.http.pagination import DEFAULT_PAGE, LARGEST_PAGE
from foundation.http.validation import FROM_TEXT, Query

Row = TypeVar("Row")
Schema = dict[str, Any]
"""A part of the document, as JSON Schema has it."""
ABOUT_FIELDS = {"title", "description", "default", "deprecated"}


def extend_schema(
    *,
    refused: Mapping[int, Sequence[str]] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    query: Sequence[type[Query]] = (),
    page_of: type[BaseModel] | None = None,
    **about: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """drf-spectacular's, which notes for `View` the query parameters, and whether the method reads a key.

    `refused` has the codes of refusals by status, besides those that every call may return. With `page_of`
    the call is a list in pages, and its rows have these bodies. The fields of `query` are its parameters.
    """
    if page_of:
        query = [*query, PageQuery]
        about["responses"] = {200: Page.__class_getitem__(page_of)} | about.get("responses", {})
    if refused:
        about["responses"] |= refusals(refused)

    def described(method: Any) -> Any:
        method.query_parameters = {name for shape in query for name in shape.model_fields}
        if IDEMPOTENCY_KEY in parameters:
            method.reads_key = True
        method.query = query
        return utils.extend_schema(parameters=parameters, **about)(method)

    return described


def query_parameters(shape: type[Query]) -> Iterator[OpenApiParameter]:
    schema = shape.model_json_schema()
    fields = schema["properties"]
    describe_fields(shape.__name__, fields)
    for name, field in fields.items():
        # An optional one is its type or null, and no parameter is null.
        [kind, *_null] = field.get("anyOf", [field])
        if "$ref" in kind:
            kind = schema["$defs"][kind["$ref"].removeprefix("#/$defs/")]
        yield OpenApiParameter(
            name,
            {key: value for key, value in kind.items() if key not in ABOUT_FIELDS},
            description=field["description"],
            deprecated=field.get("deprecated", False),
        )


def describe_fields(schema_name: str, fields: Schema) -> None:
    """Describe the fields of this schema by `settings.OPENAPI_TEXTS`.

    Defaults become words, since generators of clients require a field that has one, also in a request.
    """
    texts: Schema = {}
    for names, known in settings.OPENAPI_TEXTS["fields"].items():
        if names == "any" or schema_name in names.split():
            texts |= known
    for name, field in fields.items():
        default = field.pop("default", None)
        says = "" if default in (None, "") else f" `{json.dumps(default)}` if it is absent."
        # A test names those without a text.
        field["description"] = f"{texts[name]}{says}" if name in texts else ""


class Page(BaseModel, Generic[Row]):
    """One page of a list: `Page[CouponBody]` is named `CouponBodyPage` in the document."""

    results: list[Row]
    next: str | None
    previous: str | None

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        return f"{params[0].__name__}Page"


class SizedQuery(Query):
    """How much of a list."""

    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE), FROM_TEXT] = DEFAULT_PAGE


class PageQuery(SizedQuery):
    """How much of a list, from where on."""

    cursor: str = ""


STAFF_ONLY = {403: ["permission_denied"]}
"""What calls refuse that are for staff alone."""


def header(name: str) -> OpenApiParameter:
    """The header that `settings.OPENAPI_TEXTS` describes by this name, of calls or of their answers."""
    return OpenApiParameter(
        location=OpenApiParameter.HEADER, **settings.OPENAPI_TEXTS["header_parameters"][name]
    )


IDEMPOTENCY_KEY = header("IDEMPOTENCY_KEY")
PREFER_WAIT = header("PREFER_WAIT")
LOCATION = header("LOCATION")
CACHED_LIST = (
    "What customers and anonymous clients are shown is at most a second old when their request arrives, and "
    "has an `ETag`: with it in `If-None-Match` a list that has not changed is 304, without a body."
)
IF_NONE_MATCH = header("IF_NONE_MATCH")
ETAG = header("ETAG")
NOT_MODIFIED = OpenApiResponse(description="The list is as it was with that `ETag`.")


def refusals(codes: Mapping[int, Sequence[str]]) -> dict[tuple[int, str], OpenApiResponse]:
    """The problems that a view may return, by status, for `extend_schema(responses=...)`."""
    return {
        (status, PROBLEM): OpenApiResponse(response=problem_schema(named)) for status, named in codes.items()
    }


def problem_schema(codes: Sequence[str]) -> Schema:
    """The schema of a problem with one of these codes, with the further members of each.

    openapi-python-client reads the reference alone, so clients take codes that are added later.
    """
    known = settings.OPENAPI_TEXTS["members"]
    members: dict[str, list[Schema]] = {}
    for code in sorted(codes):
        for name, member in known.get(code, {}).items():
            described = f"With `{code}`: {member['description']}"
            members.setdefault(name, []).append(member | {"description": described})
    which = {"type": "string", "enum": sorted(codes), "description": "Which of these happened."}
    properties: Schema = {"code": which}
    for name, several in members.items():
        either = {"anyOf": several, "description": "It depends on the code."}
        properties[name] = several[0] if len(several) == 1 else either
    return {"allOf": [{"$ref": "#/components/schemas/Problem"}], "type": "object", "properties": properties}
