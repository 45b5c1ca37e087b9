"""Filters of the journal's page, each with an index: the actor, what happened, and when."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import is_naive, make_aware
from unfold.contrib.filters.admin import TextFilter

from shop import accounts
from shop.journal import Actor
from shop.models import JournalLine

Lines = QuerySet[JournalLine]


class ByActor(TextFilter):
    """An account by its name or number; an unknown name is matched against OS users of commands."""

    title = "actor (name or number)"
    parameter_name = "by"

    def queryset(self, request: HttpRequest, lines: Lines) -> Lines:
        word = (self.value() or "").strip()
        if not word:
            return lines
        account_id = accounts.id_of(word) or (int(word) if word.isdecimal() and len(word) < 19 else None)
        if account_id is None:
            return lines.filter(actor=Actor.STAFF, actor_id=None, actor_name=word)
        return lines.filter(actor_id=account_id)


class ByWhat(TextFilter):
    """What happened, or how it begins: `product.` for all that was done to products."""

    title = "what happened"
    parameter_name = "happened"

    def queryset(self, request: HttpRequest, lines: Lines) -> Lines:
        word = (self.value() or "").strip()
        return lines.filter(what__startswith=word) if word else lines


class Since(TextFilter):
    """A day or an instant, UTC; nothing at all for what is neither."""

    title = "since (2026-11-21, or 2026-11-21 14:30)"
    parameter_name = "since"
    lookup = "at__gte"

    def queryset(self, request: HttpRequest, lines: Lines) -> Lines:
        text = (self.value() or "").strip()
        if not text:
            return lines
        instant = _instant(text)
        return lines.none() if instant is None else lines.filter(**{self.lookup: instant})


class Before(Since):
    title = "before"
    parameter_name = "before"
    lookup = "at__lt"


def _instant(text: str) -> Any:
    try:
        day = parse_date(text)
        instant = parse_datetime(f"{day} 00:00") if day else parse_datetime(text)
    except ValueError:
        return None
    return make_aware(instant) if instant and is_naive(instant) else instant
