"""Values that `bulk_sql` writes into statements are stored as the ORM stores them, byte for byte.

On MariaDB under each `sql_mode` that means something to quotes and escapes, and on SQLite.
"""

import json
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from django.db import connection
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from hypothesis import HealthCheck, Phase, example, given, settings as bounds, strategies as some

from foundation.db import bulk_sql
from foundation.models import JournalLine
from foundation.tests import servers
from foundation.tests.second_connection import ask, in_its_place

MODES = {
    "plain": "",
    "ansi": "ANSI_QUOTES",
    "no_backslash": "NO_BACKSLASH_ESCAPES",
    "ansi_no_backslash": "ANSI_QUOTES,NO_BACKSLASH_ESCAPES",
    "padded": "PAD_CHAR_TO_FULL_LENGTH",
    "all": "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH",
}
# What means something to one of the databases, to the driver or to Python's formatting, in any order.
PIECES = [*"'\"\\%`;?:{}()\0\n\r\t\b\x1a\x7f xXé한🎟𝒳\ufeff\u2028\u00a0"]
PIECES += [
    *("''", "\\'", "\\\\", "%s", "%%", "%(v0)s", "--", "/*", "*/", "NULL"),
    *("\\0", "\\x27", "0x27", "e\u0301"),
]


class Loud(str):
    """Text that prints as something else."""

    def __str__(self):
        return "'; --"

    def __format__(self, how):
        return str(self)

    def __mod__(self, values):
        return str(self)


class Number(IntEnum):
    SEVEN = 7


class Line(NamedTuple):
    """Some columns of a journal's line: text, 64 bits, a UUID, a boolean, JSON, an instant."""

    detail: str
    actor_id: int | None
    order_id: UUID | None
    is_internal: bool
    after: str | None
    at: datetime
    actor: str = JournalLine.Actor.SYSTEM
    what: str = "tried"
    subject: str = "x"
    actor_name: str = ""
    request_id: str = ""
    reference: str = ""


LINES = bulk_sql.Table(JournalLine, Line._fields)
NOW = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)
SIMPLE = Line("", None, None, False, None, NOW)

texts = some.one_of(
    some.lists(some.sampled_from(PIECES), max_size=40).map("".join),
    some.text(some.characters(codec="utf-8"), max_size=60),
)
any_texts = some.one_of(texts, some.just("é" * 255), some.just("🎟" * 255))
# Made in the tests: Hypothesis takes text of another type for its own.
kinds = some.sampled_from([str, str, Loud, SafeString])
# Without shrinking: with a database for each step it would take minutes.
bounded = bounds(
    max_examples=40,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
# MariaDB's column takes no others: what names neither version nor variant is no UUID to it.
uuids = some.one_of(
    some.uuids(version=1),
    some.uuids(version=4),
    some.uuids(version=4).map(lambda value: UUID(int=value.int & ~(0xF << 76) | 7 << 76)),
    some.just(UUID(int=0)),
)
zones = some.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=9, minutes=30))])
instants = some.datetimes(datetime(1001, 1, 1), datetime(9998, 1, 1), timezones=zones)
json_values = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**53), 2**53) | texts,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
lines = some.builds(
    SIMPLE._replace,
    detail=any_texts,
    actor_id=some.none()
    | some.integers(-(2**63), 2**63 - 1)
    | some.sampled_from([*Number, True, 2**63 - 1, -(2**63)]),
    order_id=some.none() | uuids,
    is_internal=some.booleans(),
    # The ORM takes None for SQL's NULL, not for JSON's.
    after=some.none()
    | some.builds(json.dumps, json_values, ensure_ascii=some.booleans()).filter(lambda text: text != "null"),
    at=instants,
)


@contextmanager
def mode(words: str):
    """This connection with further words of `sql_mode`."""
    [[usual]] = ask(connection, "SELECT @@sql_mode")
    ask(connection, "SET SESSION sql_mode = %s", ",".join(filter(None, [usual, words])))
    try:
        yield
    finally:
        ask(connection, "SET SESSION sql_mode = %s", usual)


@contextmanager
def sqlite():
    """SQLite in this connection's place, with the table of lines alone."""
    other = SQLite({**connection.settings_dict, "NAME": ":memory:", "OPTIONS": {}}, alias="default")
    bulk_sql.reader.cache_clear()
    try:
        with in_its_place(other):
            with other.schema_editor() as editor:
                editor.create_model(JournalLine)
            yield
    finally:
        bulk_sql.reader.cache_clear()


DATABASES = {**{name: lambda words=words: mode(words) for name, words in MODES.items()}, "sqlite": sqlite}


@pytest.fixture(params=DATABASES)
def database(request, db):
    with DATABASES[request.param]():
        yield request.param


def bytes_stored() -> list[tuple[Any, ...]]:
    columns = [f"HEX({name})" for name in Line._fields]
    if connection.vendor == "sqlite":
        columns += [f"typeof({name})" for name in Line._fields]
    return ask(connection, f"SELECT {', '.join(columns)} FROM shop_journalline ORDER BY id")  # noqa: S608


def is_kept(stored: bytes, document: str) -> bool:
    """MySQL stores JSON in a form of its own, and prints U+007F escaped; the others keep the text."""
    if connection.vendor == "mysql" and not servers.is_mariadb():
        return json.loads(stored) == json.loads(document)
    return stored == document.encode()


@bounded
@example([SIMPLE._replace(detail=piece, after=json.dumps({piece: piece})) for piece in PIECES], str)
@example([SIMPLE._replace(detail=piece) for piece in PIECES], Loud)
@given(some.lists(lines, min_size=1, max_size=6), kinds)
def test_what_is_written_is_what_the_orm_would_have_written(database, given, kind):
    rows = [line._replace(detail=kind(line.detail)) for line in given]
    ask(connection, "DELETE FROM shop_journalline")
    bulk_sql.insert(LINES, rows)
    ours = bytes_stored()
    read = [[*row] for row in JournalLine.objects.order_by("id").values_list(*Line._fields)]
    ids = [*JournalLine.objects.order_by("id").values_list("id", flat=True)]
    found = bulk_sql.reader(JournalLine, Line._fields).rows_of(ids)

    ask(connection, "DELETE FROM shop_journalline")
    documents = [None if line.after is None else json.loads(line.after) for line in given]
    JournalLine.objects.bulk_create(
        JournalLine(**line._asdict() | {"after": after}) for line, after in zip(given, documents, strict=True)
    )
    theirs = bytes_stored()

    after = Line._fields.index("after")
    for index, row in enumerate(given):
        assert ours[index][0] == row.detail.encode().hex().upper()
        is_escaped = row.after is None or row.after == json.dumps(json.loads(row.after))
        differing = [
            name
            for name, one, other in zip(Line._fields, ours[index], theirs[index], strict=False)
            if one != other
        ]
        # The ORM escapes what isn't ASCII in JSON; what it reads is the same.
        assert differing in ([], [] if is_escaped else ["after"])
        assert row.after is None or is_kept(bytes.fromhex(ours[index][after]), row.after)
    assert read == found == [[*line._replace(after=one)] for line, one in zip(given, documents, strict=True)]
    assert [row[len(Line._fields) :] for row in ours] == [row[len(Line._fields) :] for row in theirs]


@bounded
@given(some.lists(some.tuples(kinds, any_texts), min_size=1, max_size=20))
def test_a_text_is_the_same_wherever_a_statement_has_it(database, given):
    """In conditions too, which nothing reads back: what the server makes of each."""
    cells, values = bulk_sql.SqlLiterals(), [kind(text) for kind, text in given]
    statement = f"SELECT {', '.join(f'HEX({cells[value]})' for value in values)}"
    with connection.cursor() as cursor:
        cursor.execute(statement, cells.parameters or None)
        said = cursor.fetchone()
    assert [*said] == [value.encode().hex().upper() for value in values]


@pytest.mark.parametrize(
    "value",
    [
        *(1.5, Decimal("1.5"), b"bytes", date(2026, 1, 1), time(12), timedelta(1)),
        *(gettext_lazy("'; --"), ("a", "b"), frozenset("a"), object(), 1j),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_of_another_type_is_refused(value):
    with pytest.raises(TypeError, match="which no column here takes"):
        bulk_sql.SqlLiterals()[value]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
def test_a_number_of_more_than_64_bits_is_refused(value):
    """SQLite would store it as a float that is near it."""
    with pytest.raises(OverflowError, match="64 bits"):
        bulk_sql.SqlLiterals()[value]


def test_text_that_is_no_unicode_is_refused(database):
    with pytest.raises(UnicodeEncodeError):
        bulk_sql.insert(LINES, [SIMPLE._replace(detail="half of an emoji: \ud83c")])


def test_to_model_builds_the_same_object_as_the_orm(db):
    JournalLine.objects.create(
        at=NOW, actor="system", subject="first", order_id=UUID("01a205ea-8973-7608-aaac-b7b4998b3d39")
    )
    columns = bulk_sql.reader(JournalLine, alias="line")
    [row] = ask(connection, f"SELECT {columns.selected} FROM shop_journalline line")  # noqa: S608
    made, [read] = columns.to_model(row), JournalLine.objects.all()
    assert {name: getattr(made, name) for name in columns.names} == {
        name: getattr(read, name) for name in columns.names
    }


def test_integers_need_no_parameters():
    assert bulk_sql.integer_list([1, 2, 30]) == "1, 2, 30"
    with pytest.raises(ValueError, match="Unknown format code"):
        bulk_sql.integer_list(["1) OR (1=1"])  # type: ignore[list-item]
