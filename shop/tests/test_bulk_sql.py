"""Bulk SQL writes rows that are equal to what the ORM writes and reads."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from django.db import connection

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
    bulk_sql.insert(LINES, lines)
    return [Line(*row) for row in JournalLine.objects.order_by("pk").values_list(*Line._fields)]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_no_text_is_interpreted_as_sql_or_placeholders(text: str) -> None:
    lines = [Line(AT, "system", number, text, None, False, reference=text) for number in (1, 2)]

    assert written(lines) == lines


def test_to_model_builds_the_same_object_as_the_orm() -> None:
    bulk_sql.insert(LINES, [Line(AT, "system", None, "first", uuid4(), True)])
    columns = bulk_sql.reader(JournalLine, alias="line")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns.selected} FROM shop_journalline line")  # noqa: S608
        [row] = cursor.fetchall()

    made, [read] = columns.to_model(row), JournalLine.objects.all()

    assert {name: getattr(made, name) for name in columns.names} == {
        name: getattr(read, name) for name in columns.names
    }


def test_a_number_of_64_bits_is_written_and_no_larger_one() -> None:
    edges = [bulk_sql.SMALLEST, bulk_sql.LARGEST]
    assert [bulk_sql.SqlLiterals()[edge] for edge in edges] == [str(-(2**63)), str(2**63 - 1)]
    for beyond in (bulk_sql.SMALLEST - 1, bulk_sql.LARGEST + 1):
        with pytest.raises(OverflowError):
            bulk_sql.SqlLiterals()[beyond]


def test_integers_need_no_parameters() -> None:
    assert bulk_sql.integer_list([1, 2, 30]) == "1, 2, 30"
    with pytest.raises(ValueError, match="Unknown format code"):
        bulk_sql.integer_list(["1) OR (1=1"])  # type: ignore[list-item]
