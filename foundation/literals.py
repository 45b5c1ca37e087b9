"""How instants and whole numbers are written, the same wherever they come in.

An instant is RFC 3339 with an offset; a number is a minus sign or none, and ASCII digits. Parsers take more:
one took "20270301" for seconds since 1970, and `int` takes Arabic digits and "1_000".
"""

import re
from datetime import UTC, date, datetime

from django.utils.translation import gettext_noop

INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII)
SPACES = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u200c\u200d\u2060\ufeff"
"""Unicode's, and those of no width."""
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
WALL_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?", re.ASCII)
"""As the browser's `datetime-local` sends it, or with a blank for the T."""
WHOLE_NUMBER = re.compile(r"-?\d{1,19}", re.ASCII)
DECIMAL_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,9})?", re.ASCII)
OUT_OF_RANGE = gettext_noop("is out of range")
FIRST_DAY = date(1, 1, 2)
LAST_DAY = date(9999, 12, 30)
"""Of what is read: a day off the calendar's ends, so that no time zone and no next day is beyond them."""
NO_INSTANT = gettext_noop("must be an instant such as 2026-11-25T10:00:00+09:00")
NO_WHOLE_NUMBER = gettext_noop("must be a whole number, written in the digits 0 to 9")


class NotOfTheForm(ValueError):
    """The text is not written as it has to be; the message says how."""


def instant(text: str) -> datetime:
    """The instant, in UTC. Raises NotOfTheForm, also for one outside of `FIRST_DAY` to `LAST_DAY` in UTC."""
    found = INSTANT.fullmatch(text)
    if not found:
        raise NotOfTheForm(NO_INSTANT)
    if not found[1]:
        raise NotOfTheForm(gettext_noop("needs a time zone"))
    try:
        at = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise NotOfTheForm(OUT_OF_RANGE) from None
    except ValueError:
        raise NotOfTheForm(NO_INSTANT) from None
    _require_in_range(at.date())
    return at


def _require_in_range(day: date) -> None:
    if not FIRST_DAY <= day <= LAST_DAY:
        raise NotOfTheForm(OUT_OF_RANGE)


def whole_number(text: str) -> int:
    if not WHOLE_NUMBER.fullmatch(text):
        raise NotOfTheForm(NO_WHOLE_NUMBER)
    return int(text)


def decimal_number(text: str) -> float:
    if not DECIMAL_NUMBER.fullmatch(text):
        raise NotOfTheForm(NO_WHOLE_NUMBER)
    return float(text)


def row_number(text: str) -> int | None:
    """The whole number that the text is, if it is one that a column may have, such as that of a row."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < len(str(2**63)) else None


def day(text: str) -> date:
    try:
        found = date.fromisoformat(text) if DAY.fullmatch(text) else None
    except ValueError:
        found = None
    if found is None:
        raise NotOfTheForm(NO_INSTANT)
    _require_in_range(found)
    return found


def instant_or_wall_time(text: str) -> datetime:
    """The instant, or the day and time without a zone that the text is. Raises NotOfTheForm."""
    if not WALL_TIME.fullmatch(text):
        return instant(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise NotOfTheForm(NO_INSTANT) from None
    _require_in_range(at.date())
    return at


def day_or_instant(text: str) -> datetime:
    """As `instant_or_wall_time`, or the beginning of the day that the text is. Raises NotOfTheForm."""
    return instant_or_wall_time(f"{text} 00:00" if DAY.fullmatch(text) else text)


def instant_in_utc(text: str) -> datetime:
    """The instant; a day, or a day and a time, without an offset are UTC's. Raises NotOfTheForm."""
    found = day_or_instant(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def without_space_around(text: str) -> str:
    """The text without white space at its ends, no-break and zero-width spaces included."""
    return text.strip(SPACES)
