"""Bulk SQL writes rows that are equal to what the ORM writes and reads."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils.translation import gettext_lazy

from shop.db import bulk_sql
from shop.models import JournalLine

pytestmark = pytest.mark.django_db

AT = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)
ODD_TEXTS = ["", "100 % (v0)s %(v0)s", "'; DROP TABLE x; --", "\\", '"', "한국어 🎟", "a\nb", "NULL", "1"]


class Line(NamedTuple):
    """Some columns of a journal line, one of each type."""

    at: datetime
    actor: str
    actor_id: int | None
    subject: str
    order_id: UUID | None
    is_internal: bool
    attempts: int = 0
    actor_name: str = ""
    request_id: str = ""
    what: str = "tried"
    detail: str = ""
    reference: str = ""
    delivery: str = ""
    last_error: str = ""


LINES = bulk_sql.Table(JournalLine, Line._fields)


def written(lines: Sequence[Line]) -> list[Line]:
    """Write these lines, and return what the ORM reads."""
    bulk_sql.insert(LINES, lines)
    return [Line(*row) for row in JournalLine.objects.order_by("pk").values_list(*Line._fields)]


def test_a_value_of_an_unsupported_type_is_refused_and_never_inlined() -> None:
    with pytest.raises(TypeError, match="is a __proxy__"):
        bulk_sql.insert(LINES, [Line(AT, gettext_lazy("'); --"), None, "x", None, False)])  # type: ignore[arg-type]


def test_each_type_is_read_as_it_was_written() -> None:
    lines = [
        Line(AT, "system", None, "first", uuid4(), True),
        Line(AT, "account", 2**40, "second", None, False),
        Line(AT.replace(microsecond=0), "staff", -1, "third", UUID(int=0), True, attempts=1),
    ]

    assert written(lines) == lines


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_no_text_is_interpreted_as_sql_or_placeholders(text: str) -> None:
    lines = [Line(AT, "system", number, text, None, False, reference=text) for number in (1, 2)]

    assert written(lines) == lines


def test_every_character_is_kept_inlined_or_as_a_parameter() -> None:
    signs = [chr(number) for number in range(1, 256)]
    lines = [Line(AT, "system", number, f"a{sign}b{sign}", None, False) for number, sign in enumerate(signs)]

    assert written(lines) == lines


def test_a_str_subclass_is_written_by_its_characters_not_its_format() -> None:
    class Quoted(str):
        def __str__(self) -> str:
            return "'; --"

        def __format__(self, how: str) -> str:
            return str(self)

    cells = bulk_sql.SqlLiterals()
    assert (cells[Quoted("rain")], cells.parameters) == ("'rain'", {})


def test_to_model_builds_the_same_object_as_the_orm() -> None:
    bulk_sql.insert(LINES, [Line(AT, "system", None, "first", uuid4(), True)])
    columns = bulk_sql.columns_of(JournalLine, alias="line")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns.selected} FROM shop_journalline line")  # noqa: S608
        [row] = cursor.fetchall()

    made, [read] = columns.to_model(row), JournalLine.objects.all()

    assert {name: getattr(made, name) for name in columns.names} == {
        name: getattr(read, name) for name in columns.names
    }


def test_integers_need_no_parameters() -> None:
    assert bulk_sql.integer_list([1, 2, 30]) == "1, 2, 30"
    with pytest.raises(ValueError, match="Unknown format code"):
        bulk_sql.integer_list(["1) OR (1=1"])  # type: ignore[list-item]
