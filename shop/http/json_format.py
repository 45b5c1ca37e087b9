"""JSON in and out: one reader with a bound on size, one writer, no negotiation."""

from collections.abc import Iterable
from typing import Any

import orjson
from django.conf import settings
from rest_framework.exceptions import APIException, UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request

# No call of ours takes more than four; what works on bodies by recursion may rely on it.
MAX_DEPTH = 32
# An order of 50 lines has some 150 of them. 64 KiB of unknown fields, read on the event loop, would hold up
# every other call for 20 ms.
MAX_SEPARATORS = 500
MEDIA_TYPE = "application/json"


class MalformedJSON(APIException):
    status_code = 400
    default_code = "malformed_json"
    default_detail = "The body is not valid JSON."


class TooLarge(APIException):
    status_code = 413
    default_code = "too_large"
    default_detail = "The body is larger than 64 KiB."


def parse(body: bytes, content_type: str) -> Any:
    """The JSON value of a request's body; an empty body is `{}`.

    Strict JSON in UTF-8: no NaN, no infinities, no lone surrogates, at most 32 levels deep. Raises
    `UnsupportedMediaType`, `TooLarge`, `MalformedJSON`.
    """
    if not body:
        return {}
    if len(body) > settings.MAX_BODY_BYTES:
        raise TooLarge
    _require_json(content_type)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"The body is not valid JSON: {error}.") from error
    # Counting is quick, and settles it for all but the strangest bodies.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_too_deep(value):
        raise MalformedJSON(f"The body is nested more than {MAX_DEPTH} levels deep.")
    return value


def has_many_values(body: bytes) -> bool:
    """Whether a body has more commas and brackets than any call that is read on the event loop needs."""
    if len(body) <= MAX_SEPARATORS:
        return False
    return sum(map(body.count, (b",", b"{", b"["))) > MAX_SEPARATORS


def _require_json(content_type: str) -> None:
    if content_type == MEDIA_TYPE:
        return
    media_type, _, parameters = content_type.lower().partition(";")
    is_other_text = "charset=" in parameters and "utf-8" not in parameters
    if media_type.strip() != MEDIA_TYPE or is_other_text:
        raise UnsupportedMediaType(content_type)


class AlwaysJSON(BaseContentNegotiation):
    """For REST framework's own pages: there is one representation, whatever `Accept` says."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        wanted = (request.content_type or "").split(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == wanted), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


def dump(data: Any) -> bytes:
    """The project's JSON: instants as `2026-01-01T00:00:00.000000Z`, UUIDs and dataclasses as they are."""
    # Copied: what orjson returns keeps 4 KiB or more, and an answer may be kept while its request waits.
    return memoryview(orjson.dumps(data, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)).tobytes()


def _is_too_deep(value: Any) -> bool:
    """Whether containers are nested deeper than is allowed; looked at level by level."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for whole in level for part in _parts(whole) if isinstance(part, dict | list)]
        if not level:
            return False
    return True


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
