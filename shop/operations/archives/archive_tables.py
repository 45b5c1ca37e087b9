"""What the archives know of a table: which rows of a month may go, and how a row is written in a file.

A row is a line of JSON, an array of its columns. Equal rows are equal lines, so lines are compared instead of
values.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import BooleanField, DateTimeField, Max, Min, Model, UUIDField

from shop.db import bulk_sql
from shop.models import ArchivedMonth
from shop.operations.audits.audit_scope import lowest_uuid

Row = list[Any]
"""The values of a row, in the order of the columns."""
Sums = Mapping[str, int]
IsReady = Callable[[Mapping[str, Any]], bool]
PAGE = 5_000
"""Ids of a statement that reads; a page of them is in memory at a time."""
# A UUID is made before its row has an instant, by a host whose clock may be off.
UUID_SLACK = timedelta(hours=1)


def _no_sums(month: ArchivedMonth, rows: Sequence[Mapping[str, Any]]) -> Sums:
    return {}


def _every_row(end: datetime) -> IsReady | None:
    return None


def _as_is(rows: Sequence[dict[str, Any]]) -> None:
    """Nothing of the rows has to be completed."""


@dataclass(frozen=True, kw_only=True)
class ArchiveTable:
    """A table whose finished months may be archived. `at` is the attribute that says a row's month.

    `condition` is SQL for rows whose work is done, and `prepare_filter` makes a further condition, at the
    start, of what other tables say. `leave_out` changes the values of a row in place, which must not be in a
    file; `complete` does the opposite for rows that are restored. `carry` is called in the transaction that
    deletes rows, and `uncarry` in the one that restores them: they keep what the laws sum up, and return by
    how much the sums of the month grew or shrank.
    """

    name: str
    model: type[Model]
    at: str
    condition: str = "1 = 1"
    prepare_filter: Callable[[datetime], IsReady | None] = _every_row
    leave_out: Callable[[Row], None] | None = None
    complete: Callable[[Sequence[dict[str, Any]]], None] = _as_is
    carry: Callable[[ArchivedMonth, Sequence[Mapping[str, Any]]], Sums] = _no_sums
    uncarry: Callable[[ArchivedMonth, Sequence[Mapping[str, Any]]], Sums] = _no_sums
    stays: str = ""
    """What stays, for the command's help."""

    @property
    def key(self) -> str:
        return str(self.model._meta.pk.attname)

    @cached_property
    def columns(self) -> list[str]:
        """The attributes of all columns, the key first."""
        return columns_of(self.model)

    @cached_property
    def is_counted(self) -> bool:
        """Whether the keys are whole numbers; otherwise they are UUIDs that begin with the time."""
        return not isinstance(self.model._meta.pk, UUIDField)


def columns_of(model: type[Model]) -> list[str]:
    """The attributes of the model's columns in the order of a file, the key first."""
    key = model._meta.pk.attname
    return [key, *(one.attname for one in model._meta.concrete_fields if one.attname != key)]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The statement's column list, and the positions of the values that need a uniform form."""

    selected: str
    uuids: Sequence[int]
    booleans: Sequence[int]


def _plan(table: ArchiveTable) -> _Plan:
    fields = {one.attname: one for one in table.model._meta.concrete_fields}
    kinds = [fields[name] for name in table.columns]
    foreign = [getattr(one, "target_field", one) for one in kinds]
    quoted = connection.ops.quote_name

    def at(kind: type) -> list[int]:
        return [place for place, one in enumerate(foreign) if isinstance(one, kind)]

    return _Plan(
        selected=", ".join(quoted(str(one.column)) for one in kinds),
        uuids=at(UUIDField),
        booleans=at(BooleanField),
    )


class Reader:
    """Reads rows of the table and makes the lines of a file of them."""

    def __init__(self, table: ArchiveTable) -> None:
        self._table = table
        self._plan = _plan(table)

    def line(self, values: Sequence[Any]) -> bytes:
        """The row's line, without its end."""
        row = list(values)
        for place in self._plan.uuids:
            if row[place] is not None:
                row[place] = str(row[place]).replace("-", "")
        for place in self._plan.booleans:
            row[place] = int(row[place])
        if self._table.leave_out:
            self._table.leave_out(row)
        return orjson.dumps(row)

    def named(self, line: bytes) -> dict[str, Any]:
        """The values of a line by their columns."""
        return dict(zip(self._table.columns, orjson.loads(line), strict=True))

    def lines_of(self, keys: Sequence[Any], *, lock: str = "") -> dict[Any, bytes]:
        """The lines of the rows with these keys that are there, by key."""
        if not keys:
            return {}
        listed = bulk_sql.SqlLiterals().listed(_key_value(self._table, key) for key in keys)
        key = self._table.key
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {self._plan.selected} FROM {self._table.model._meta.db_table}"  # noqa: S608 - names of ours
                f" WHERE {key} IN ({listed}) ORDER BY {key}{lock}"
            )
            rows = cursor.fetchall()
        return {_file_key(self._table, row[0]): self.line(row) for row in rows}

    def month_lines(self, begin: datetime, end: datetime) -> Iterator[list[bytes]]:
        """The lines of the month's rows whose work is done, in the order of keys, a page at a time."""
        is_ready = self._table.prepare_filter(end)
        for rows in self._pages(begin, end):
            if is_ready:
                names = self._table.columns
                rows = [row for row in rows if is_ready(dict(zip(names, row, strict=True)))]
            if rows:
                yield [self.line(row) for row in rows]

    def _pages(self, begin: datetime, end: datetime) -> Iterator[list[Sequence[Any]]]:
        """Pages by ranges of keys: each statement is short, wherever the month's rows lie."""
        table, literals = self._table, bulk_sql.SqlLiterals()
        month = f"{table.at} >= {literals[begin]} AND {table.at} < {literals[end]} AND ({table.condition})"
        statement = f"SELECT {self._plan.selected} FROM {table.model._meta.db_table} WHERE "  # noqa: S608
        if table.is_counted:
            for first in self._first_keys(begin, end):
                yield _rows(f"{statement}id BETWEEN {first} AND {first + PAGE - 1} AND {month} ORDER BY id")
            return
        last = lowest_uuid(begin - UUID_SLACK)
        highest = lowest_uuid(end + UUID_SLACK)
        while True:
            keys = f"{table.key} > {literals[last]} AND {table.key} < {literals[highest]}"
            rows = _rows(f"{statement}{keys} AND {month} ORDER BY {table.key} LIMIT {PAGE}")
            if not rows:
                return
            yield rows
            last = UUID(str(rows[-1][0]))

    def _first_keys(self, begin: datetime, end: datetime) -> range:
        """The first keys of the pages that have all rows of the month."""
        rows = self._table.model._default_manager.all()
        if self._has_index():
            rows = rows.filter(**{f"{self._table.at}__gte": begin, f"{self._table.at}__lt": end})
        found = rows.aggregate(first=Min("pk"), last=Max("pk"))
        return range(found["first"], found["last"] + 1, PAGE) if found["first"] is not None else range(0)

    def _has_index(self) -> bool:
        """Whether an index finds the instants; otherwise all pages of the table are looked through."""
        meta = self._table.model._meta
        own = meta.get_field(self._table.at)
        return bool(getattr(own, "db_index", False)) or any(one.fields[0] == own.name for one in meta.indexes)


class Inserter:
    """Inserts rows of a file with their keys. Columns that the file lacks get the model's defaults."""

    def __init__(self, table: ArchiveTable, columns: Sequence[str]) -> None:
        self._table = table
        fields = {one.attname: one for one in table.model._meta.concrete_fields}
        self._defaults = {
            name: one.get_default() for name, one in fields.items() if name not in columns and not one.null
        }
        kinds = {name: getattr(one, "target_field", one) for name, one in fields.items()}
        self._instants = [name for name in columns if isinstance(kinds[name], DateTimeField)]
        self._uuids = [name for name in columns if isinstance(kinds[name], UUIDField)]
        self._names = [*columns, *self._defaults]
        self._into = bulk_sql.Table(table.model, self._names)

    def insert(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert them, in the caller's transaction."""
        bulk_sql.insert(self._into, [self._cells(row) for row in rows])

    def _cells(self, row: Mapping[str, Any]) -> list[Any]:
        values = {**row, **self._defaults}
        for name in self._instants:
            if values[name] is not None:
                values[name] = datetime.fromisoformat(values[name]).replace(tzinfo=UTC)
        for name in self._uuids:
            if values[name] is not None:
                values[name] = UUID(values[name])
        return [values[name] for name in self._names]


def existing_keys(table: ArchiveTable, keys: Sequence[Any]) -> set[Any]:
    """Those of the keys that the table has, as a file has them."""
    if not keys:
        return set()
    listed = bulk_sql.SqlLiterals().listed(_key_value(table, key) for key in keys)
    rows = _rows(f"SELECT {table.key} FROM {table.model._meta.db_table} WHERE {table.key} IN ({listed})")  # noqa: S608
    return {_file_key(table, key) for [key] in rows}


def delete(table: ArchiveTable, keys: Sequence[Any]) -> int:
    """Delete the rows with these keys, in the caller's transaction. Returns how many there were."""
    listed = bulk_sql.SqlLiterals().listed(_key_value(table, key) for key in keys)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table.model._meta.db_table} WHERE {table.key} IN ({listed})")  # noqa: S608
        return int(cursor.rowcount)


def _file_key(table: ArchiveTable, key: Any) -> Any:
    return key if table.is_counted else str(key).replace("-", "")


def _key_value(table: ArchiveTable, key: Any) -> Any:
    return key if table.is_counted else UUID(str(key))


def _rows(statement: str) -> list[Sequence[Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
