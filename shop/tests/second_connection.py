"""A second connection for tests: another client of the same database, in the same thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def another_connection() -> Iterator[BaseDatabaseWrapper]:
    """A connection beside Django's own `connection`."""
    other = connections.create_connection("default")
    try:
        yield other
    finally:
        other.close()


@contextmanager
def holding(statement: str, *parameters: Any) -> Iterator[BaseDatabaseWrapper]:
    """Keep the locks of `statement` until the end of the block."""
    with another_connection() as other:
        other.set_autocommit(False)
        ask(other, statement, *parameters)
        yield other
        other.rollback()


def ask(connection: BaseDatabaseWrapper, statement: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []
