"""Parts of the home page: a section with its number, its worst rows, and links to where the work is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from shop import clock

ROWS_SHOWN = 5
MOST_COUNTED = 1_000
"""A section counts no further; one more stands for more."""
COUNTED = MOST_COUNTED + 1
A_MINUTE = timedelta(minutes=1)


class State(StrEnum):
    """How a section is marked: nothing to do, work to do, what can't wait, or not readable now."""

    CALM = "calm"
    WORK = "work"
    ALARM = "alarm"
    AWAY = "away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing to work on: a link to its page, its status as a label, and what there is to know."""

    link: SafeString
    label: SafeString | str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A kind of work. `number` and `unit` are read together; `note` says the rest in a sentence."""

    name: str
    title: str
    icon: str
    state: State
    number: str = ""
    unit: str = ""
    note: str = ""
    rows: Sequence[Row] = ()
    links: Sequence[SafeString] = ()

    @property
    def needs_work(self) -> bool:
        return self.state in (State.WORK, State.ALARM)


def number_text(number: int) -> str:
    """A number that was counted up to `COUNTED`."""
    return f"{MOST_COUNTED:,}+" if number > MOST_COUNTED else f"{number:,}"


def age(at: datetime) -> str:
    """How long ago it was: "3 minutes", in the reader's language."""
    now = clock.now()
    if now - at < A_MINUTE:
        return _("less than a minute")
    # Its spaces don't break, and a section on a phone is narrow.
    return timesince(at, now, depth=1).replace("\xa0", " ")


def ago(at: datetime) -> str:
    return _("%(age)s ago") % {"age": age(at)}
