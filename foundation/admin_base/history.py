"""The journal in words: what happened to what, and the history of a row, which are its lines.

`admin_base/journal_words.html` has the word for what happened. The class of a model's pages says by its
`subjects` what the journal calls its rows.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_noop

from foundation import literals
from foundation.admin_base.display import instant_text, link, register, stored_text, view_of
from foundation.admin_base.status_words import plain_text, status_word
from foundation.models import JournalLine
from foundation.money import format_amount

COUNTED = {
    "codes": gettext_noop("Codes"),
    "products": gettext_noop("Products"),
    "accounts": gettext_noop("Accounts"),
}
"""What lines count or name that is no field of the row."""
SAID = ("reason", "paused_at", "id", "ids", "order", "number", "account", "currency")
"""What the line says elsewhere, as its reason, its instant and its subject, and ids, which may be many."""


FIND_SUBJECTS: list[Callable[[HttpRequest, str], Sequence[str]]] = []
"""What the journal calls the rows that a term finds. The search of all apps adds its own."""


def words() -> dict[str, str]:
    """The words of what happened in the page's language, by what the journal calls it."""
    return _words_in(translation.get_language())


@lru_cache
def _words_in(language: str | None) -> dict[str, str]:
    """Rendered once for each language: a list asks for a word a row."""
    lines = render_to_string("admin_base/journal_words.html").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def choices() -> Iterator[tuple[str, str]]:
    """What the journal may have happened, and its words after what it happened to."""
    for what, word in words().items():
        kind, _, name = what.partition(".")
        if name:
            yield what, f"{happened_text(kind)}: {word}"


@register.filter
def happened_text(what: str) -> str:
    """What happened, in words; what has none has its own, such as the step of a payment."""
    return words().get(what) or capfirst(": ".join(map(status_word, what.split("."))))


def name_subjects(request: HttpRequest, lines: Sequence[Any]) -> None:
    """Give each line the name of what it is about, with a link to its page, if the account may view that."""
    texts = {line.subject for line in lines}
    names: dict[str, object] = {}
    every: Iterable[Any] = admin.site._registry.values()
    for pages in every:
        if not pages.has_view_permission(request):
            continue
        for kind in pages.subjects:
            keys = {text.removeprefix(f"{kind} "): text for text in texts if text.startswith(f"{kind} ")}
            rows = _rows(pages, keys) if keys else ()
            names |= {keys[str(getattr(row, pages.subject_key))]: _named(pages, row) for row in rows}
    for line in lines:
        line.about = names.get(line.subject) or plain_text(line.subject)


def _rows(pages: Any, keys: Iterable[str]) -> "QuerySet[Any]":
    field = pages.opts.pk if pages.subject_key == "pk" else pages.opts.get_field(pages.subject_key)
    values = []
    for key in keys:
        with suppress(ValidationError):
            values.append(field.to_python(key))
    found = pages.model._default_manager.filter(**{f"{pages.subject_key}__in": values})
    return found.prefetch_related(*getattr(pages, "list_prefetch_related", ()))


def _named(pages: Any, row: Model) -> object:
    return link(capfirst(pages.row_title(row)), pages.row_page or view_of(row), row.pk)


def name_actors(request: HttpRequest, lines: Iterable[JournalLine]) -> list[JournalLine]:
    """Give each line the name of its actor: of a member of staff, or of any account that may be viewed."""
    named = list(lines)
    known = User.objects.filter(pk__in=[line.actor_id for line in named if line.actor_id])
    if not request.user.has_perm("auth.view_user"):
        known = known.filter(is_staff=True)
    names = {account.pk: account.username for account in known}
    for line in named:
        line.actor_name = line.actor_name or names.get(line.actor_id or 0, "")
    return named


def in_parts(lines: Sequence[JournalLine]) -> list[list[JournalLine]]:
    """What people did and saw, and the steps of the engine, which have no words of their own."""
    return [[line for line in lines if (line.what in words()) == is_told] for is_told in (True, False)]


@register.filter
def reason_text(line: JournalLine) -> str:
    """Why it happened; the amounts of a refund as people read them."""
    after = line.after if isinstance(line.after, dict) else {}
    text = stored_text(line.detail)
    if line.what not in ("order.refunded", "refund.failed"):
        return text
    return re.sub(r"\d+", lambda found: format_amount(int(found[0]), after.get("currency", "")), text)


@register.filter
def changes(line: JournalLine, row: Model) -> Iterator[str]:
    """What the line changed of the row: a field and its values in words."""
    before, after = (values if isinstance(values, dict) else {} for values in (line.before, line.after))
    for name, value in after.items():
        if name in SAID:
            continue
        label = gettext(COUNTED[name]) if name in COUNTED else status_word(name)
        words: dict[Any, Any] = {}
        with suppress(FieldDoesNotExist):
            field = row._meta.get_field(name)
            label = str(getattr(field, "verbose_name", label))
            words = dict(getattr(field, "flatchoices", ()))
        in_words = getattr(row, f"{name}_in_words", _in_words)
        texts = [before[name], value] if name in before else [value]
        change = " → ".join(
            str(words[one]) if isinstance(one, str) and one in words else in_words(one) for one in texts
        )
        yield f"{capfirst(label)}: {change}"


def _in_words(value: Any) -> str:
    if value in (None, "", []):
        return gettext("none")
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        # What a list has says itself what it is.
        return ", ".join(
            _in_words(one) if isinstance(one, list) else f"{status_word(name)} {_in_words(one)}"
            for name, one in value.items()
            if name not in SAID
        )
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    with suppress(literals.NotOfTheForm):
        return instant_text(literals.instant(str(value)))
    return status_word(plain_text(str(value)))
