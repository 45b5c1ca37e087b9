"""A second connection for tests: another client of the same database, in the same thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from foundation.tests.racing import wait_until


@contextmanager
def another_connection() -> Iterator[BaseDatabaseWrapper]:
    """A connection beside Django's own `connection`."""
    other = connections.create_connection("default")
    try:
        yield other
    finally:
        other.close()


@contextmanager
def in_its_place(other: BaseDatabaseWrapper) -> Iterator[None]:
    """`other` as Django's own `connection` of this thread until the end of the block, which closes it."""
    usual = connections["default"]
    connections["default"] = other
    try:
        yield
    finally:
        other.close()
        connections["default"] = usual


@contextmanager
def holding(statement: str, *parameters: Any) -> Iterator[BaseDatabaseWrapper]:
    """Keep the locks of `statement` until the end of the block; a SELECT that locks no row fails the test."""
    with another_connection() as other:
        other.set_autocommit(False)
        found = ask(other, statement, *parameters)
        assert found or not statement.lstrip().startswith("SELECT"), statement
        yield other
        other.rollback()


def connection_id() -> int:
    """The number of Django's own connection."""
    return int(ask(connection, "SELECT CONNECTION_ID()")[0][0])


def is_connected(number: int) -> bool:
    with another_connection() as other:
        return bool(ask(other, "SELECT 1 FROM information_schema.processlist WHERE id = %s", number))


def kill(number: int) -> None:
    """End this connection; returns once it is gone."""
    with another_connection() as other:
        ask(other, "KILL CONNECTION %s", number)
    wait_until(lambda: not is_connected(number))


def ask(connection: BaseDatabaseWrapper, statement: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []
