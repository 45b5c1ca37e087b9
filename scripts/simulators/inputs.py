"""What requests bring, checked: each function returns a good value, or raises Refused naming the field."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from scripts.simulators.asgi import Refused, Request

LONGEST_TEXT = 255
LARGEST_AMOUNT = 10**12
"""Millions of charges of this size still add up within SQLite's 64 bits."""

KEY = re.compile(r"[\x20-\x7e]{1,255}")


def body(request: Request) -> dict[str, Any]:
    """The request's JSON object."""
    try:
        fields = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, "malformed_json", f"The body is not JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise Refused(400, "invalid", "The body is not a JSON object.")
    return fields


def idempotency_key(request: Request) -> str:
    """The key in the request's header."""
    key = request.headers.get("idempotency-key")
    if not key:
        raise Refused(400, "idempotency_key_missing", "Send an Idempotency-Key header.")
    if not KEY.fullmatch(key):
        raise Refused(
            400, "idempotency_key_invalid", "An Idempotency-Key is 1-255 printable ASCII characters."
        )
    return key


def text(fields: Mapping[str, Any], name: str) -> str:
    """A string of 1-255 characters."""
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT:
        raise invalid(name, f"a string of 1-{LONGEST_TEXT} characters")
    return value


def text_or_null(fields: Mapping[str, Any], name: str) -> str | None:
    """A string of 1-255 characters, or None where it is null or absent."""
    return None if fields.get(name) is None else text(fields, name)


def amount(fields: Mapping[str, Any], name: str) -> int:
    """A positive integer in the currency's minor unit."""
    value = fields.get(name)
    # type() rather than isinstance(): true is no amount.
    if type(value) is not int or not 0 < value <= LARGEST_AMOUNT:
        raise invalid(name, f"an integer from 1 to {LARGEST_AMOUNT}")
    return value


def currency(fields: Mapping[str, Any], name: str) -> str:
    """Three capital letters."""
    value = fields.get(name)
    if not isinstance(value, str) or not re.fullmatch(r"[A-Z]{3}", value):
        raise invalid(name, "a currency of three capital letters, such as KRW")
    return value


def instant(fields: Mapping[str, Any], name: str) -> str:
    """An RFC 3339 time with its offset, as it was sent."""
    value = text(fields, name)
    moment(value, name)
    return value


def moment(value: str, name: str) -> datetime:
    """The instant that an RFC 3339 time with its offset names."""
    try:
        read = datetime.fromisoformat(value)
        if read.tzinfo is None:
            raise invalid(name, "an RFC 3339 time with its offset, such as Z")
        # Also refuses what leaves the calendar on its way to UTC.
        return read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(name, "an RFC 3339 time") from error


def record(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A JSON object."""
    value = fields.get(name)
    if not isinstance(value, dict):
        raise invalid(name, "an object")
    return value


def invalid(name: str, wanted: str) -> Refused:
    """The refusal of a field that is not what it must be."""
    return Refused(400, "invalid", f"`{name}` must be {wanted}.", field=name)
