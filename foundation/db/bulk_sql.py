"""Many rows by one statement, where what the ORM does for each value costs more than all the rest of a batch.

Values are written into the statement as literals, because the driver's escaping takes longer than the rest of
a statement with thousands of values, most of which repeat. A literal is made of nothing that could be
misread; any other text is left to the driver. What is no `Value` is refused by `TypeError`, integers of more
than 64 bits by `OverflowError`, lone surrogates by `UnicodeEncodeError`.
`foundation/tests/test_sql_literals.py` compares what is stored with what the ORM stores.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.models import AutoField, Model
from django.db.models.base import ModelState

Value = str | int | datetime | UUID | None
# Signs that mean nothing between the quotes of a statement, whatever the database and its mode: printable
# ASCII less the quote, the backslash and the per cent sign.
PLAIN_TEXT = re.compile(r"[ !\"#$&(-\[\]-~]*")
SMALLEST = -(2**63)
LARGEST = 2**63 - 1
ROWS_PER_STATEMENT = 1_000
Row = TypeVar("Row", bound=Model)


class Table:
    """A model's table and some of its columns, by the names of the model's attributes: the cells of a row."""

    def __init__(self, model: type[Model], names: Sequence[str]) -> None:
        self.name = model._meta.db_table
        columns = {field.attname: str(field.column) for field in model._meta.concrete_fields}
        # As MySQL and MariaDB quote names, and SQLite takes them.
        self.quoted_columns = ", ".join([f"`{columns[name]}`" for name in names])


def insert(
    table: Table, rows: Iterable[Iterable[Value]], *, end: str = "", at_once: int = ROWS_PER_STATEMENT
) -> None:
    """Write these rows, so many by a statement, which goes with the next one or with COMMIT, and ends with
    `end`.
    """
    left = iter(rows)
    while some := list(islice(left, at_once)):
        cells = SqlLiterals()
        values = ", ".join([f"({cells.listed(row)})" for row in some])
        statement = f"INSERT INTO {table.name} ({table.quoted_columns}) VALUES {values}{end}"  # noqa: S608 - names of ours
        execute_deferred(statement, cells.parameters or None)


def add_up(
    model: type[Model], rows: Iterable[Sequence[Value]], *, key: Sequence[str], sums: Sequence[str]
) -> None:
    """Write rows as `insert` does, or add their `sums` to those of the row with the same key.

    The rows, with the columns of the key before the sums, must be in the key's order: locks are taken in it.
    """
    table = Table(model, [*key, *sums])
    new = "VALUES({0})" if connection.vendor == "mysql" else "excluded.{0}"
    added = ", ".join([f"{name} = {table.name}.{name} + {new.format(name)}" for name in sums])
    if connection.vendor == "mysql":
        insert(table, rows, end=f" ON DUPLICATE KEY UPDATE {added}")
    else:
        insert(table, rows, end=f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {added}")


def insert_objects(objects: Sequence[Model]) -> None:
    """Write these new objects of one model as `insert` does; a key that the database makes stays unset."""
    table, cells_of = _insert_plan(type(objects[0]))
    insert(table, map(cells_of, objects))


def new_object(model: type[Row], columns: Mapping[str, Any], **related: Model) -> Row:
    """A new object with these columns, which are all, and the objects that they refer to.

    It is made as unpickling makes one: the model's constructor takes five times as long.
    """
    made = model.__new__(model)
    made._state = ModelState()
    made._state.fields_cache.update(related)
    made.__dict__.update(columns)
    return made


@lru_cache(maxsize=64)
def _insert_plan(model: type[Model]) -> tuple[Table, Callable[[Model], Iterable[Value]]]:
    names = [
        field.attname
        for field in model._meta.concrete_fields
        if not isinstance(field, AutoField) and not field.generated
    ]
    return Table(model, names), attrgetter(*names)


def execute_deferred(statement: str, parameters: Sequence[Value] | Mapping[str, Value] | None = None) -> None:
    """Write as `insert` does; how many rows it changes is not reported."""
    getattr(connection, "execute_deferred", execute)(statement, parameters)


def fetch(
    statement: str, parameters: Any = None, *, database: str = DEFAULT_DB_ALIAS
) -> Sequence[tuple[Any, ...]]:
    """The rows of a statement, as the driver has them."""
    with connections[database].cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall()


def execute(statement: str, parameters: Any = None) -> int:
    """Execute a statement at once. Returns how many rows it has changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return int(cursor.rowcount)


def update(model: type[Model], values: Mapping[str, Value], *, condition: str, cells: "SqlLiterals") -> int:
    """Set these columns where the condition, SQL whose values are written by `cells`, holds; returns how
    many.
    """
    columns = {field.attname: str(field.column) for field in model._meta.concrete_fields}
    assignments = ", ".join(
        [f"{connection.ops.quote_name(columns[name])} = {cells[value]}" for name, value in values.items()]
    )
    statement = f"UPDATE {model._meta.db_table} SET {assignments} WHERE {condition}"  # noqa: S608 - names of ours
    return execute(statement, cells.parameters)


def for_update(*, skip_locked: bool = False, shared: bool = False) -> str:
    """The end of a SELECT that locks the rows that it reads, where the database can; with `shared` as a
    foreign key's check does.
    """
    if not connection.features.has_select_for_update:
        return ""
    if not shared:
        return f" {connection.ops.for_update_sql(skip_locked=skip_locked)}"
    is_mariadb = getattr(connection, "mysql_is_mariadb", False)
    return (" LOCK IN SHARE MODE" if is_mariadb else " FOR SHARE") + " SKIP LOCKED" * skip_locked


def locked_values(
    model: type[Model], values: Collection[Value], *, column: str = "id", shared: bool = False
) -> set[Any]:
    """Which of these values of a column stand in rows that another transaction has locked just now.

    With `shared` only rows that another transaction may be changing: what a foreign key's check waits for.
    Call it outside any transaction; it locks the others for no longer than its statement.
    """
    if not (values and connection.features.has_select_for_update_skip_locked):
        return set()
    found = reader(model, (column,))
    skipping = for_update(skip_locked=True, shared=shared)
    with transaction.atomic():
        free = {value for [value] in found.rows_of(values, column=column, lock=skipping)}
    return {value for [value] in found.rows_of(values, column=column)} - free


def integer_list(numbers: Iterable[int]) -> str:
    """These as the list of an `IN (...)`, which must not be empty: whole numbers need no parameters."""
    return ", ".join([f"{number:d}" for number in numbers])


class SqlLiterals(dict[Value, str]):
    """How each value is written, found once: `cells[value]`. Text of other than plain signs is a
    parameter.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, str] = {}

    def __missing__(self, value: Value) -> str:
        if isinstance(value, str):
            # Joined as it was looked at: formatting asks a subclass of text what it would like to be.
            cell = "'" + value + "'" if PLAIN_TEXT.fullmatch(value) else self._parameter(value)
        elif isinstance(value, UUID):
            return f"'{value.int:032x}'"  # Not kept: its hash takes longer.
        elif isinstance(value, int):
            if not SMALLEST <= value <= LARGEST:
                raise OverflowError(f"{value:d} has more than 64 bits; SQLite would store a float near it.")
            cell = f"{value:d}"
        else:
            cell = "NULL" if value is None else f"'{_instant_text(value)}'"
        self[value] = cell
        return cell

    def listed(self, values: Iterable[Value]) -> str:
        return ", ".join(map(self.__getitem__, values))

    def case(self, column: str, values: Mapping[Any, Value]) -> str:
        """SQL for these values, each of the row with its key in the column."""
        pairs = "".join([f" WHEN {self[key]} THEN {self[value]}" for key, value in values.items()])
        return f"CASE {column}{pairs} END"

    def _parameter(self, value: str) -> str:
        name = f"v{len(self.parameters)}"
        # Of a subclass of text the driver for MySQL would write what it prints.
        self.parameters[name] = str.__str__(value)
        return f"%({name})s"


def _instant_text(value: object) -> str:
    """An instant as the database takes it: digits, and nothing that would have to be escaped."""
    if isinstance(value, datetime):
        # All of the shop's are in UTC, as the database has them, and Django takes long to see it.
        is_utc = value.tzinfo is UTC
        return str(value)[:-6] if is_utc else str(connection.ops.adapt_datetimefield_value(value))
    raise TypeError(f"{value!r} is a {type(value).__name__}, which no column here takes.")


class Reader(Generic[Row]):
    """Columns of a model in a statement of one's own, as the values that the ORM would make of them."""

    def __init__(self, model: type[Row], names: Sequence[str], alias: str) -> None:
        fields = {field.attname: field for field in model._meta.concrete_fields}
        self.model = model
        self.table = model._meta.db_table
        self.names = list(names or fields)
        prefix = f"{alias}." if alias else ""
        quoted = connection.ops.quote_name
        self.selected = ", ".join([f"{prefix}{quoted(str(fields[name].column))}" for name in self.names])
        self._converters = [
            (index, convert, column)
            for index, column in enumerate(fields[name].get_col(self.table) for name in self.names)
            for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection))
        ]

    def rows_of(self, ids: Iterable[Value], *, column: str = "id", lock: str = "") -> list[list[Any]]:
        """The rows with these values in a column, in the order of ids; `lock` ends the statement."""
        cells = SqlLiterals()
        listed = cells.listed(ids)
        return self.rows(f"{column} IN ({listed}) ORDER BY id{lock}", cells) if listed else []

    def rows(self, condition: str, cells: SqlLiterals) -> list[list[Any]]:
        """The rows for which this SQL holds, whose values are written by `cells`; it ends the statement."""
        return [self.values(row) for row in self._found(condition, cells)]

    def rows_of_each(self, conditions: Iterable[str], cells: SqlLiterals) -> list[list[Any]]:
        """The rows of each of these conditions, which may end with an order and a limit, by one statement."""
        parts = []
        for number, condition in enumerate(conditions):
            part = f"SELECT {self.selected} FROM {self.table} WHERE {condition}"  # noqa: S608 - names of ours
            parts.append(f"SELECT * FROM ({part}) AS part_{number}")  # noqa: S608
        return [self.values(row) for row in fetch(" UNION ALL ".join(parts), cells.parameters)]

    def models(self, condition: str, cells: SqlLiterals) -> list[Row]:
        """These rows as objects of the model."""
        return [self.to_model(row) for row in self._found(condition, cells)]

    def _found(self, condition: str, cells: SqlLiterals) -> Sequence[Sequence[Any]]:
        statement = f"SELECT {self.selected} FROM {self.table} WHERE {condition}"  # noqa: S608 - names of ours
        return fetch(statement, cells.parameters)

    def values(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for index, convert, column in self._converters:
            values[index] = convert(values[index], column, connection)
        return values

    def to_model(self, row: Sequence[Any]) -> Row:
        return self.model.from_db(connection.alias, self.names, self.values(row))


@lru_cache(maxsize=64)
def reader(model: type[Row], names: tuple[str, ...] = (), *, alias: str = "") -> Reader[Row]:
    """The reader of these columns, or of all; `alias` is the table's in the statement."""
    return Reader(model, names, alias)
