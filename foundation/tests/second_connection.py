"""A second connection for tests: another client of the same database, in the same thread."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

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
def in_its_place(other: BaseDatabaseWrapper):
    """`other` as Django's own `connection` of this thread until the end of the block, which closes it."""
    usual = connections["default"]
    connections["default"] = other
    try:
        yield
    finally:
        other.close()
        connections["default"] = usual


@contextmanager
def holding(statement: str, *parameters) -> Iterator[BaseDatabaseWrapper]:
    """Keep the locks of `statement` until the end of the block; a SELECT that locks no row fails the test."""
    with another_connection() as other:
        other.set_autocommit(False)
        found = ask(other, statement, *parameters)
        assert found or not statement.lstrip().startswith("SELECT"), statement
        yield other
        other.rollback()


def holding_row(row: Model) -> AbstractContextManager[BaseDatabaseWrapper]:
    """Keep the lock of this row until the end of the block."""
    key = row.pk.hex if isinstance(row.pk, UUID) else row.pk
    return holding(f"SELECT id FROM {row._meta.db_table} WHERE id = %s FOR UPDATE", key)  # noqa: S608


def connection_id() -> int:
    """The number of Django's own connection."""
    return int(ask(connection, "SELECT CONNECTION_ID()")[0][0])


def is_connected(number: int) -> bool:
    with another_connection() as other:
        return bool(ask(other, "SELECT 1 FROM information_schema.processlist WHERE id = %s", number))


def kill(number: int):
    """End this connection, unless it has just ended by itself; returns once it is gone."""
    with another_connection() as other, suppress(OperationalError):
        ask(other, "KILL CONNECTION %s", number)
    wait_until(lambda: not is_connected(number))


def kill_others():
    """End the connections of all other threads to this database."""
    others = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    for [number] in ask(connection, others):
        kill(number)


def ask(connection: BaseDatabaseWrapper, statement: str, *parameters) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []
