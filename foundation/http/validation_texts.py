"""What is wrong with a field, in languages other than English: in English it is pydantic's own message."""

from functools import partial
from typing import Any, cast

from django.utils.translation import gettext_noop

from foundation.lazy_texts import ENGLISH, LazyText, Text, look_up

_WHOLE_NUMBER = gettext_noop("This must be a whole number.")
_TIME = gettext_noop("This must be a time such as 2026-11-20T12:00:00Z.")
_UUID = gettext_noop("This must be a UUID.")
_BOOLEAN = gettext_noop("This must be true or false.")
_ONE_OF = gettext_noop("This must be one of {expected}.")
TEXTS = {
    "missing": gettext_noop("This field is required."),
    "extra_forbidden": gettext_noop("There is no such field."),
    "model_type": gettext_noop("This must be an object."),
    "dict_type": gettext_noop("This must be an object."),
    "list_type": gettext_noop("This must be a list."),
    "too_short": gettext_noop("At least {min_length} are needed; there are {actual_length}."),
    "too_long": gettext_noop("At most {max_length} are allowed; there are {actual_length}."),
    "int_type": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": gettext_noop("This number is too large."),
    "greater_than_equal": gettext_noop("This must be at least {ge}."),
    "less_than_equal": gettext_noop("This must be at most {le}."),
    "string_type": gettext_noop("This must be a text."),
    "string_unicode": gettext_noop("This must be a text in Unicode."),
    "string_too_short": gettext_noop("This must have at least {min_length} characters."),
    "string_too_long": gettext_noop("This must have at most {max_length} characters."),
    "string_pattern_mismatch": gettext_noop("This doesn't match the pattern {pattern}."),
    "literal_error": _ONE_OF,
    "enum": _ONE_OF,
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
    "uuid_type": _UUID,
    "uuid_parsing": _UUID,
    "uuid_version": _UUID,
}
"""By the type of pydantic's error. Errors of our own have texts that the catalogs know."""


def describe(error: Any) -> Text:
    """What is wrong with a field, in any language, from one of a `ValidationError`'s errors."""
    return cast("Text", LazyText(partial(_describe, error)))


def _describe(error: Any, language: str) -> str:
    kind = error["type"]
    message = str(error["msg"])
    if language == ENGLISH:
        return message
    context = error.get("ctx", {})
    if kind in TEXTS:
        # "'open', 'closed' or 'paused'"
        values = context | {"expected": str(context.get("expected", "")).replace(" or ", ", ")}
        return look_up(TEXTS[kind], language).format(**values)
    return look_up(str(context["error"]) if kind == "value_error" else message, language)
