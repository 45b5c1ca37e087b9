"""Request validation: strict types, unknown fields refused, every error reported.

`Input` is the base of each call's body, in which null means absent, and `ChangeInput` that of a PATCH, in
which null empties a field whose type allows it; the aliases below are the types of fields.
"""

import re
from collections.abc import Collection
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, TypeVar
from uuid import UUID

from django.utils.translation import gettext_noop
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from foundation import literals
from foundation.errors import Invalid, invalid_field
from foundation.http.json_format import JsonObject
from foundation.http.messages import Request
from foundation.http.validation_texts import describe
from foundation.lazy_texts import Text, mark
from foundation.normalization import MOST_WORDS, normalized
from foundation.reasons import LONGEST_REASON

MOST_MEMBERS = 1000
"""No call has more: an order has 50 lines."""
MOST_ERRORS = 20
LONGEST_FIELD = 100
"""So that a response is small whatever the request was."""
AS_TYPED = {"password"}
"""Fields whose text is not stored, and normalised where it is checked."""
LARGEST_ID = 2**63 - 1
# Large enough for any price, small enough that 50 lines of 1,000 of them fit a BIGINT.
LARGEST_AMOUNT = 10**12
# All but tabs and line breaks: they are invisible, and break files, logs and terminals.
NESTED = (dict, list)
UUID_TEXT = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
CONTROL_CHARACTERS = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F]"


UNCHANGED: Any = None
"""The default of a field of a `ChangeInput`, which is never read: `changes` has the given ones alone."""


def _leave_out_defaults(schema: JsonObject) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


def _allow_null_in_schema(schema: JsonObject) -> None:
    """In the OpenAPI document, let optional fields be null as well."""
    for name, field in schema["properties"].items():
        if name in schema.get("required", []) or {"type": "null"} in field.get("anyOf", []):
            continue
        about = {key: field.pop(key) for key in ("default", "description", "title") if key in field}
        if about.get("default") == "":
            about["default"] = None
        schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **about}


class Input(BaseModel):
    """The base of request bodies. A null member counts as absent, unless `null_is_a_value` names it."""

    null_is_a_value: ClassVar[Collection[str]] = ()
    keeps_null: ClassVar[bool] = False
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra=_allow_null_in_schema
    )


class ChangeInput(Input):
    """The base of bodies of PATCH: only the given fields change, and null is a value of its own."""

    keeps_null = True
    model_config = ConfigDict(json_schema_extra=_leave_out_defaults)


class Nothing(Input):
    """A body without fields."""


class Query(BaseModel):
    """Query parameters: always text on the wire. `View` has refused those that the call doesn't have."""

    model_config = ConfigDict(frozen=True)


def _require_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(gettext_noop("must be a string"))
    return value


def refuse_control_characters(text: str) -> str:
    if re.search(CONTROL_CHARACTERS, text):
        message = gettext_noop("must not contain control characters other than tabs and line breaks")
        raise PydanticCustomError("control_character", message)
    return text


def _to_instant(value: object) -> datetime:
    try:
        return literals.instant(str(_require_text(value)))
    except literals.NotOfTheForm as error:
        if str(error) == literals.NO_INSTANT:
            raise PydanticCustomError("datetime_from_date_parsing", literals.NO_INSTANT) from None
        raise


def _to_day(value: object) -> date:
    try:
        return literals.day(str(_require_text(value)))
    except literals.NotOfTheForm:
        raise PydanticCustomError("date_parsing", gettext_noop("must be a day such as 2026-11-25")) from None


def _to_whole_number(value: object) -> object:
    """Text, as query parameters are, as a number; a body's number as it is, for its type is strict."""
    try:
        return literals.whole_number(value) if isinstance(value, str) else value
    except literals.NotOfTheForm:
        raise PydanticCustomError("int_parsing", literals.NO_WHOLE_NUMBER) from None


def _require_few_words(search: str) -> str:
    if len(search.split()) > MOST_WORDS:
        raise PydanticCustomError("too_many_words", gettext_noop("A search has five words at most."))
    return search


def _require_uuid(value: object) -> object:
    if not UUID_TEXT.fullmatch(str(_require_text(value))):
        raise PydanticCustomError("uuid_parsing", gettext_noop("must be a UUID"))
    return value


Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]
# A code that people type or paste: white space round it, seen or not, is no part of it.
TypedCode = Annotated[str, AfterValidator(literals.without_space_around)]
SearchWords = Annotated[str, AfterValidator(_require_few_words)]
# After the bounds, so that they are in the OpenAPI document.
FROM_TEXT = BeforeValidator(_to_whole_number)
QueryId = Annotated[Id, FROM_TEXT]
Amount = Annotated[int, Field(ge=0, le=LARGEST_AMOUNT)]
PositiveAmount = Annotated[int, Field(ge=1, le=LARGEST_AMOUNT)]
NOT_BLANK: JsonObject = {"pattern": r"\S", "json_schema_extra": {"not": {"pattern": CONTROL_CHARACTERS}}}
NonBlankText = Annotated[str, Field(max_length=255, **NOT_BLANK), AfterValidator(refuse_control_characters)]
# Why staff pause or resume something. A length after the validator would be refused by another code.
Reason = Annotated[
    str, Field(max_length=LONGEST_REASON, **NOT_BLANK), AfterValidator(refuse_control_characters)
]
Instant = Annotated[datetime, Field(strict=False), BeforeValidator(_to_instant)]
Day = Annotated[date, Field(strict=False), BeforeValidator(_to_day)]
Uuid = Annotated[UUID, Field(strict=False), BeforeValidator(_require_uuid)]

Shape = TypeVar("Shape", bound=BaseModel)
Body = TypeVar("Body", bound=Input)


class OwnerQuery(Query):
    """Whose rows a list shows to staff; `user` is the former name of `account`."""

    account: QueryId | None = None
    user: Annotated[QueryId | None, Field(json_schema_extra={"deprecated": True})] = None


class PauseInput(Input):
    """Why it is paused or resumed; the journal records it."""

    reason: Reason


def read(shape: type[Body], request: Request) -> Body:
    """The request's body as `shape`. Raises `Invalid` with one entry per wrong field."""
    body = request.data
    if not isinstance(body, dict):
        raise invalid_field("", "not_an_object", mark("The body must be a JSON object."))
    if _count_members(body) > MOST_MEMBERS:
        raise invalid_field("", "too_many_members", mark("The body has too many members."))
    keeps_null = shape.keeps_null
    given = {
        name: one if name in AS_TYPED else _cleaned(one, keeps_null=keeps_null)
        for name, one in body.items()
        if keeps_null or one is not None or name in shape.null_is_a_value
    }
    if len(given) > MOST_ERRORS:
        # An error of each would take longer to make than the body to send.
        for name in [name for name in given if name not in shape.model_fields][MOST_ERRORS:]:
            del given[name]
    return _validate(shape, given)


def read_query(shape: type[Shape], request: Request) -> Shape:
    """The request's query parameters as `shape`; an empty one counts as absent."""
    given = {name: normalized(value) for name, value in request.query_params.items() if value}
    return _validate(shape, given)


def refuse_unknown_parameters(request: Request, known: Collection[str]) -> None:
    """Raise `Invalid`, which names the query parameters that are none of these."""
    unknown = [name for name in request.query_params if name not in known]
    _validate(Nothing, dict.fromkeys(unknown[:MOST_ERRORS]))


def changes(given: ChangeInput, **empty: Any) -> JsonObject:
    """The given fields; those that are null as what is `empty` of their kind, None unless that is given."""
    fields = given.model_dump(exclude_unset=True)
    return {name: empty.get(name) if value is None else value for name, value in fields.items()}


def body(schema: type[BaseModel], row: object, **others: object) -> JsonObject:
    """The fields of the schema in its order: `others`, and the attributes of the row by the same names."""
    return {name: others[name] if name in others else getattr(row, name) for name in schema.model_fields}


def _count_members(value: Any) -> int:
    """The members of all objects of a JSON value, which is counted in less time than it is validated."""
    count, parts = (len(value), value.values()) if isinstance(value, dict) else (0, value)
    for part in parts:
        if type(part) in NESTED:
            count += _count_members(part)
    return count


def _cleaned(value: Any, *, keeps_null: bool) -> Any:
    """The same JSON value, without members that are null unless it `keeps_null`; its text is normalised."""
    kind = type(value)
    if kind is str:
        return normalized(value)
    if kind is dict:
        return {
            name: _cleaned(part, keeps_null=keeps_null)
            for name, part in value.items()
            if keeps_null or part is not None
        }
    return [_cleaned(part, keeps_null=keeps_null) for part in value] if kind is list else value


def _validate(shape: type[Shape], data: JsonObject) -> Shape:
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)[:MOST_ERRORS]
        raise Invalid(
            mark("The request is not valid."), errors=[_field_error(each) for each in found]
        ) from None


def _field_error(error: Any) -> dict[str, Text]:
    kind = {"missing": "required", "extra_forbidden": "unknown_field"}.get(error["type"], error["type"])
    field = ".".join(map(str, error["loc"]))[:LONGEST_FIELD]
    return {"field": field, "code": kind, "detail": describe(error)}
