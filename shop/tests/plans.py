"""How the database answers a statement, for tests that hold pages to indexes."""

from collections.abc import Collection
from typing import Any

from django.db import connection

SCANS = ("ALL", "index")


def explain(statement: str) -> list[dict[str, Any]]:
    """The rows of MariaDB's plan of the statement: a row for each table that it reads."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        assert cursor.description
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def assert_read_by_index(statement: str, *, but_for: Collection[str] = ()) -> None:
    """No table is read from its beginning to its end, but for derived ones, and for these small ones."""
    for step in explain(statement):
        table = str(step["table"] or "")
        is_derived = table.startswith("<") or not table
        if not is_derived and table not in but_for:
            assert step["type"] not in SCANS and step["key"], f"{step}\n{statement}"
