"""A minimal domain for tests: a row that counts, and an entry for each count, in two tables in plain SQL."""

from collections.abc import Sequence

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from foundation.errors import Rejected
from foundation.tests.second_connection import another_connection, ask

TABLES = (
    "CREATE TABLE tally (id INT PRIMARY KEY, value INT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE tally_entry (name VARCHAR(64) PRIMARY KEY, position INT NOT NULL UNIQUE) ENGINE=InnoDB",
)
HOT, OTHER = 1, 2
TAKEN = "taken"
LOCK = "SELECT value FROM tally WHERE id = %s FOR UPDATE"


def create():
    """Create both tables; MariaDB ends an open transaction here."""
    drop()
    for table in TABLES:
        ask(connection, table)


def drop():
    ask(connection, "DROP TABLE IF EXISTS tally_entry, tally")


def reset():
    """Set the count to 0, with one entry: the name `taken`."""
    for statement in ("DELETE FROM tally_entry", "DELETE FROM tally"):
        ask(connection, statement)
    ask(connection, "INSERT INTO tally VALUES (%s, 0), (%s, 0)", HOT, OTHER)
    ask(connection, "INSERT INTO tally_entry VALUES (%s, 0)", TAKEN)


def count(names: Sequence[str]) -> list[int | Exception]:
    """Decide a batch: each name gets the next position, with these exceptions.

    The result of `refused…` is an exception, `raising…` raises, `repeating…` violates the unique key.
    """
    last = ask(connection, LOCK, HOT)[0][0]
    outcomes: list[int | Exception] = []
    for name in names:
        if name.startswith("refused"):
            outcomes.append(Rejected(name))
            continue
        if name.startswith("raising"):
            raise ValueError(name)
        last += 1
        key = TAKEN if name.startswith("repeating") else name
        ask(connection, "INSERT INTO tally_entry VALUES (%s, %s)", key, last)
        outcomes.append(last)
    ask(connection, "UPDATE tally SET value = %s WHERE id = %s", last, HOT)
    return outcomes


def make_heavy(other: BaseDatabaseWrapper):
    """InnoDB rolls back the transaction that has changed fewer rows: let that be the one under test."""
    for number in range(20):
        ask(other, "INSERT INTO tally VALUES (%s, 0)", 100 + number)


def counted() -> int:
    """The row's committed value; inside a transaction, the value that it sees."""
    return int(_seen("SELECT value FROM tally WHERE id = %s", HOT)[0][0])


def entries() -> dict[str, int]:
    """The committed positions by name; inside a transaction, those that it sees."""
    return dict(_seen("SELECT name, position FROM tally_entry WHERE name <> %s", TAKEN))


def _seen(statement, *parameters):
    if connection.in_atomic_block:
        return ask(connection, statement, *parameters)
    with another_connection() as other:
        return ask(other, statement, *parameters)


@pytest.fixture(scope="session")
def tally_tables(django_db_setup, django_db_blocker):
    """The tally's tables, which have no models."""
    with django_db_blocker.unblock():
        create()
    yield
    with django_db_blocker.unblock():
        drop()


@pytest.fixture
def counting(tally_tables, transactional_db):
    """An empty tally, for tests with threads."""
    reset()
