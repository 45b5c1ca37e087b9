"""JSON in and out: one parser with a bound on size, one renderer, no negotiation."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from django.conf import settings
from rest_framework.exceptions import APIException, UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

# No call of ours takes more than four; what works on bodies by recursion may rely on it.
DEEPEST = 32


class MalformedJSON(APIException):
    status_code = 400
    default_code = "malformed_json"
    default_detail = "The body is not valid JSON."


class TooLarge(APIException):
    status_code = 413
    default_code = "too_large"
    default_detail = "The body is larger than 64 KiB."


class JSONParser(BaseParser):
    """Strict JSON in UTF-8: no NaN, no infinities, no lone surrogates, at most 32 levels deep."""

    media_type = "application/json"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        if "charset=" in (media_type or "").lower() and "utf-8" not in (media_type or "").lower():
            raise UnsupportedMediaType(media_type or "")
        body = stream.read(settings.MAX_BODY_BYTES + 1)
        if len(body) > settings.MAX_BODY_BYTES:
            raise TooLarge()
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise MalformedJSON(f"The body is not valid JSON: {error}.") from error
        if _is_deep(value):
            raise MalformedJSON(f"The body is nested more than {DEEPEST} levels deep.")
        return value


class JSONRenderer(BaseRenderer):
    """orjson's bytes, as they are."""

    media_type = "application/json"
    format = "json"
    charset = "utf-8"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        if data is None:
            return b""
        return data if isinstance(data, bytes) else dump(data)


class AlwaysJSON(BaseContentNegotiation):
    """There is one representation, whatever `Accept` says; the parser still looks at `Content-Type`."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        wanted = (request.content_type or "").split(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == wanted), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


def dump(data: Any) -> bytes:
    """The project's JSON: instants as `2026-01-01T00:00:00.000000Z`, UUIDs and dataclasses as they are."""
    return orjson.dumps(data, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def _is_deep(value: Any) -> bool:
    """Whether containers are nested deeper than is allowed; looked at level by level."""
    level = [value]
    for _ in range(DEEPEST):
        level = [part for whole in level for part in _parts(whole) if isinstance(part, dict | list)]
        if not level:
            return False
    return True


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
