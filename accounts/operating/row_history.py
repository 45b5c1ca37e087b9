"""The history of a campaign, sale or product: what the journal has of it, in words."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_noop

from foundation import literals
from foundation.admin_base.display import actor_text, instant_text, stored_text
from foundation.admin_base.status_words import status_word
from foundation.models import JournalLine

MOST_LINES = 100
WHAT = {
    "created": gettext_noop("Created"),
    "changed": gettext_noop("Changed"),
    "paused": gettext_noop("Paused"),
    "resumed": gettext_noop("Resumed"),
    "pause_explained": gettext_noop("Reason of the pause"),
    "drawn": gettext_noop("Order drawn"),
    "codes_added": gettext_noop("Codes added"),
    "accounts_listed": gettext_noop("Accounts listed"),
    "accounts_unlisted": gettext_noop("Accounts removed from the list"),
}
"""By the end of what the journal says happened."""
COUNTED = {
    "codes": gettext_noop("Codes"),
    "products": gettext_noop("Products"),
    "accounts": gettext_noop("Accounts"),
}
"""What lines count or name that is no field of the row."""
SAID = ("reason", "paused_at", "ids")
"""What the line says elsewhere, as its reason and by its instant, and ids of accounts, which may be many."""


class Happened(NamedTuple):
    """A line of the history: `changes` are a field and its values in words."""

    at: datetime
    what: str
    by: str
    changes: list[str]
    reason: str


def read(row: Model) -> list[Happened]:
    """The newest lines of the row, the last first."""
    subject = f"{row._meta.model_name} {row.pk}"
    lines = JournalLine.objects.filter(subject=subject).order_by("-id")[:MOST_LINES]
    return [
        Happened(
            line.at, _what(line.what), actor_text(line), [*_changes(row, line)], stored_text(line.detail)
        )
        for line in lines
    ]


def _what(said: str) -> str:
    word = said.rpartition(".")[2]
    return gettext(WHAT[word]) if word in WHAT else capfirst(status_word(word))


def _changes(row: Model, line: JournalLine) -> Iterator[str]:
    before, after = (values if isinstance(values, dict) else {} for values in (line.before, line.after))
    for name, value in after.items():
        if name in SAID:
            continue
        label = gettext(COUNTED[name]) if name in COUNTED else name.replace("_", " ")
        with suppress(FieldDoesNotExist):
            label = str(getattr(row._meta.get_field(name), "verbose_name", label))
        change = _in_words(value)
        if name in before:
            change = f"{_in_words(before[name])} → {change}"
        yield f"{capfirst(label)}: {change}"


def _in_words(value: Any) -> str:
    if value in (None, "", []):
        return gettext("none")
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    with suppress(literals.NotOfTheForm):
        return instant_text(literals.instant(str(value)))
    return status_word(str(value))
