"""Texts that are translated when they are rendered, and not where they are raised (docs/translating.md).

They are Django's lazy texts, at a third of the cost, since a drop refuses most requests.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import trans_real

from foundation.values import Values

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise as Text, StrPromise
else:
    Text = str | Promise

ENGLISH = "en"
"""The language in which the code is written."""


class LazyText(Promise):
    """A text in any language; as a `str` it is in the active one, which is English outside of pages."""

    def __init__(self, in_language: Callable[[str], str]) -> None:
        self.in_language = in_language

    def __str__(self) -> str:
        return self.in_language(translation.get_language() or ENGLISH)

    def __eq__(self, other: object) -> bool:
        return str(self) == other

    def __hash__(self) -> int:
        return hash(str(self))

    def __len__(self) -> int:
        return len(str(self))

    def __getitem__(self, index: SupportsIndex | slice) -> str:
        return str(self)[index]

    def __contains__(self, part: str) -> bool:
        return part in str(self)

    def __add__(self, other: str) -> str:
        return str(self) + other

    def __radd__(self, other: str) -> str:
        return other + str(self)


def mark(message: str, **values: Any) -> "StrPromise":
    """A text to translate: `mark("Only {count} are left.", count=count)`."""
    return cast("StrPromise", LazyText(partial(_fill, message, values)))


def _fill(message: str, values: Values, language: str) -> str:
    text = look_up(message, language)
    return (
        text.format(**{name: render(value, language) for name, value in values.items()}) if values else text
    )


def join(separator: str, texts: "Sequence[Text]") -> "StrPromise":
    """The texts joined, each of them translated when the whole is."""
    joined = LazyText(lambda language: separator.join([render(text, language) for text in texts]))
    return cast("StrPromise", joined)


def look_up(message: str, language: str) -> str:
    """The translation of a text of the catalogs; the text itself, if they don't have it."""
    if language == ENGLISH or not message:
        return message
    return str(trans_real.translation(language).gettext(message))


def render(value: Any, language: str) -> Any:
    """A lazy text in this language, also one of Django's; any other value as it is."""
    if isinstance(value, LazyText):
        return value.in_language(language)
    if isinstance(value, Promise):
        with translation.override(language):
            return str(value)
    return value


def translate_stored(text: str, language: str) -> str:
    """A stored text in this language, if it is one of the catalogs' texts; otherwise as it is.

    Of a text with one number the catalogs have the form with `{number}`.
    """
    if language == ENGLISH or not text:
        return text
    number = re.search(r"\d+", text)
    if not number:
        return look_up(text, language)
    with_number = text.replace(number[0], "{number}", 1)
    found = look_up(with_number, language)
    return text if found == with_number else found.format(number=number[0])
