"""JSON parsing with a bound on size, and JSON rendering."""

import re
from functools import partial
from typing import Any

import orjson
from django.conf import settings
from django.utils.functional import Promise

from foundation import lazy_texts
from foundation.errors import FirstcomeError, Invalid, invalid_field
from foundation.lazy_texts import ENGLISH, Text, mark

# No call of this API needs more than four; functions that recurse into bodies may rely on this.
MAX_DEPTH = 32
# An order of 50 lines has about 150. Validating 64 KiB of unknown fields on the event loop would delay every
# other call by 20 ms.
MAX_VALUES = 500
NESTED = (dict, list)
# 11,000 characters of three bytes, or as many marks of two: they take up to 5 ms to normalise.
MAX_BYTES_BEYOND_CHARACTERS = 22_000
LONGEST_CONTENT_TYPE = 255
USUAL_TYPE = "application/json"
JsonObject = dict[str, Any]
"""What a body has, by the names of its members."""
CHARSET = re.compile(r'charset\s*=\s*"?([^\s";]*)')


class MalformedJSON(FirstcomeError):
    """The body is not JSON, or is nested too deeply."""

    code = "malformed_json"


class TooLarge(FirstcomeError):
    """The body is larger than this path accepts."""

    code = "too_large"

    def __init__(self, detail: Text = "", *, most: int = settings.MAX_BODY_BYTES) -> None:
        super().__init__(detail or mark("The body is larger than {size} KiB.", size=most // 1024))


class UnsupportedMediaType(FirstcomeError):
    """The body is of another type than JSON."""

    code = "unsupported_media_type"


def parse(body: bytes, content_type: str) -> Any:
    """Return the JSON value of a body, `{}` of an empty one; strict, in UTF-8, and at most 32 levels deep.

    Raises `UnsupportedMediaType`, `MalformedJSON`, and `Invalid` for much text beyond ASCII.
    """
    if not body:
        return {}
    require_utf_8(content_type, USUAL_TYPE)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(mark("The body is not valid JSON: {error}.", error=str(error))) from error
    if len(body) - len(body.decode()) > MAX_BYTES_BEYOND_CHARACTERS:
        raise too_many_values()
    # Counting brackets is quick, and enough for all but unusual bodies.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_too_deep(value):
        raise MalformedJSON(mark("The body is nested more than {levels} levels deep.", levels=MAX_DEPTH))
    return value


def has_many_values(value: Any) -> bool:
    """Whether a JSON value has more values in it than any call on the event loop needs."""
    found = [value]
    for one in found:
        if isinstance(one, NESTED):
            found += one.values() if isinstance(one, dict) else one
        if len(found) > MAX_VALUES:
            return True
    return False


def too_many_values() -> Invalid:
    """The refusal of a body that would take the event loop too long."""
    return invalid_field("", "too_many_values", mark("The body has more values than this call can use."))


def require_utf_8(content_type: str, media_type: str | None = None) -> None:
    """Raise `UnsupportedMediaType` unless what is sent, of this type if one is given, is in UTF-8.

    Django would take any codec of Python, `idna` for example, which fail in all kinds of ways; parameters
    with a `*` have a charset of their own (RFC 2231).
    """
    if content_type == USUAL_TYPE:
        return
    given, _separator, parameters = content_type.lower().partition(";")
    is_other_text = "*" in parameters or not {"utf-8"}.issuperset(CHARSET.findall(parameters))
    # Django takes quadratic time for many parameters.
    if is_other_text or len(content_type) > LONGEST_CONTENT_TYPE or media_type not in (None, given.strip()):
        raise UnsupportedMediaType(
            mark(
                'Unsupported media type "{media_type}" in request.',
                media_type=content_type[:LONGEST_CONTENT_TYPE],
            )
        )


def dump(data: Any, language: str = ENGLISH) -> bytes:
    """Render JSON: instants as `2026-01-01T00:00:00.000000Z`, UUIDs and dataclasses natively.

    Lazy texts are rendered in the language.
    """
    # Copied, because what orjson returns occupies 4 KiB or more, and a response may be kept while its request
    # waits.
    text = orjson.dumps(data, partial(_render_lazy_text, language), orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)
    return memoryview(text).tobytes()


def _render_lazy_text(language: str, value: Any) -> str:
    if isinstance(value, Promise):
        return str(lazy_texts.render(value, language))
    raise TypeError


def _is_too_deep(value: Any) -> bool:
    """Raises `Invalid` for a level with more arrays and objects than any call needs."""
    level: list[Any] = [[value]]
    for _level in range(MAX_DEPTH + 1):
        parts = [one.values() if type(one) is dict else one for one in level]
        level = [part for some in parts for part in some if type(part) in NESTED]
        if len(level) > MAX_VALUES:
            raise too_many_values()
    return bool(level)
