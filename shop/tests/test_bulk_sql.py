"""Bulk SQL reads rows as the ORM does; `test_sql_literals` compares what is written."""

from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from shop.db import bulk_sql
from shop.models import JournalLine


@pytest.mark.django_db
def test_to_model_builds_the_same_object_as_the_orm() -> None:
    JournalLine.objects.create(at=timezone.now(), actor="system", subject="first", order_id=uuid4())
    columns = bulk_sql.reader(JournalLine, alias="line")
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
