"""What the archives know of a table: which rows of a month may go, and how a row is written in a file.

A row is a line of JSON, an array of its columns. Equal rows are equal lines, so lines are compared instead of
values.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models import Field, Max, Min, Model, Q

from shop.models import ArchivedMonth
from shop.operations.archives.archive_files import ArchiveFailed

Row = dict[str, Any]
"""The values of a row by the attributes of the columns, the key first."""
Sums = Mapping[str, int]
PAGE = 5_000
"""Keys of a statement that reads; the rows of a page are in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class ArchiveTable:
    """A table whose finished months may be archived. `at` is the attribute that says a row's month.

    `condition` holds for rows whose work is done, of a month that ended then. `leave_out` changes values of a
    row in place, which must not be in a file; `complete` does the opposite for rows that are restored.
    `carry` is called in the transaction that deletes rows, and `uncarry` in the one that restores them: they
    keep what the laws sum up, and return by how much the sums of the month grew or shrank. `stays` is for the
    command's help.
    """

    name: str
    model: type[Model]
    at: str
    condition: Callable[[datetime], Q] = lambda end: Q()
    leave_out: Callable[[Row], None] = lambda row: None
    complete: Callable[[Sequence[Row]], None] = lambda rows: None
    carry: Callable[[ArchivedMonth, Sequence[Row]], Sums] = lambda month, rows: {}
    uncarry: Callable[[ArchivedMonth, Sequence[Row]], Sums] = lambda month, rows: {}
    stays: str = ""

    @property
    def key(self) -> str:
        return str(self.model._meta.pk.attname)

    @cached_property
    def columns(self) -> list[str]:
        """The attributes of the model's columns in the order of a file, the key first."""
        others = (one.attname for one in self.model._meta.concrete_fields if one.attname != self.key)
        return [self.key, *others]

    @cached_property
    def fields(self) -> "Mapping[str, Field[Any, Any]]":
        return {one.attname: one for one in self.model._meta.concrete_fields}

    def line(self, row: Row) -> bytes:
        kept = dict(row)
        self.leave_out(kept)
        return json.dumps([*kept.values()], default=str, separators=(",", ":")).encode()

    def rows_of(self, keys: Collection[Any], *, is_locked: bool = False) -> dict[Any, Row]:
        """The rows with these keys that are there, by their keys as a file has them."""
        rows = self.model._default_manager.filter(pk__in=keys).order_by("pk")
        if is_locked:
            rows = rows.select_for_update()
        found = ((row[self.key], row) for row in rows.values(*self.columns))
        return {str(key) if isinstance(key, UUID) else key: row for key, row in found}

    def month_rows(self, begin: datetime, end: datetime) -> Iterator[list[Row]]:
        """The month's rows whose work is done, in the order of keys, a page at a time.

        Pages are ranges of keys, so that each statement is short, wherever the month's rows lie.
        """
        all_rows = self.model._default_manager.order_by("pk")
        in_month = Q(**{f"{self.at}__gte": begin, f"{self.at}__lt": end})
        first, last = all_rows.filter(in_month).aggregate(first=Min("pk"), last=Max("pk")).values()
        while first is not None:
            page = all_rows.filter(pk__gte=first, pk__lte=last)
            following = page.values_list("pk", flat=True)[PAGE : PAGE + 1].first()
            if following is not None:
                page = page.filter(pk__lt=following)
            if rows := list(page.filter(in_month & self.condition(end)).values(*self.columns)):
                yield rows
            first = following

    def read(self, columns: Sequence[str], line: bytes) -> Row:
        values = zip(columns, json.loads(line), strict=True)
        return {name: self.fields[name].to_python(value) for name, value in values}


def month_bounds(month: str) -> tuple[datetime, datetime]:
    """The instants in UTC at which the month, such as 2026-07, and the next one begin.

    Raises `ArchiveFailed`, for another spelling such as 2026-7 too: names of months are compared as texts.
    """
    with suppress(ValueError):
        begin = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        if begin.isoformat()[:7] == month:
            return begin, (begin + timedelta(days=31)).replace(day=1)
    raise ArchiveFailed(f"A month is a year and a month, such as 2026-07, not {month}.")
