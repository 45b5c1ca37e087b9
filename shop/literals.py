"""How instants and whole numbers are written, the same wherever they come in.

An instant is RFC 3339 with an offset; a number is a minus sign or none, and ASCII digits. Parsers take more:
one took "20270301" for seconds since 1970, and `int` takes Arabic and full-width digits and "1_000". What is
more than that is refused, because what it was meant to be can't be known.
"""

import re
from datetime import UTC, datetime
from unicodedata import normalize

from django.utils.translation import gettext_noop

INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII)
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
WHOLE_NUMBER = re.compile(r"-?\d{1,19}", re.ASCII)
NO_OFFSET = gettext_noop("needs a time zone")
OUT_OF_RANGE = gettext_noop("is out of range")
NO_INSTANT = gettext_noop("must be an instant such as 2026-11-25T10:00:00+09:00")
NO_WHOLE_NUMBER = gettext_noop("must be a whole number, written in the digits 0 to 9")


class NotOfTheForm(ValueError):
    """The text is not written as it has to be; the message says how."""


def instant(text: str) -> datetime:
    """The instant, in UTC. Raises NotOfTheForm, also for one outside of the years 1 to 9999 in UTC."""
    found = INSTANT.fullmatch(text)
    if not found:
        raise NotOfTheForm(NO_INSTANT)
    if not found[1]:
        raise NotOfTheForm(NO_OFFSET)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise NotOfTheForm(OUT_OF_RANGE) from None
    except ValueError:
        raise NotOfTheForm(NO_INSTANT) from None


def whole_number(text: str) -> int:
    """The number. Raises NotOfTheForm."""
    if not WHOLE_NUMBER.fullmatch(text):
        raise NotOfTheForm(NO_WHOLE_NUMBER)
    return int(text)


def without_space_around(text: str) -> str:
    """The text without white space at its ends, no-break and zero-width spaces included."""
    before = None
    while text != before:
        before, text = text, text.strip().strip(ZERO_WIDTH)
    return text


def composed(text: str) -> str:
    """The text in NFC: the same letters in the same characters, whichever system they were typed on."""
    return normalize("NFC", text)
