"""`migrate` beside connections that keep a table, and again after it was cut short; on an own database."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import MySQLdb
import pytest
from MySQLdb.connections import Connection

from shop import configuration
from shop.management.commands.migrate import LOCK_WAIT_SECONDS

DATABASE = f"firstcome_migrate_{os.getpid()}"
STARTS_WITHIN, ENDS_WITHIN, SLACK_SECONDS = 30, 120, 5
BEFORE = ("migrate", "shop", "0007")
APPLY = ("migrate", "shop", "0008")
IN_JOURNAL = (
    "INSERT INTO shop_journalline (at, actor, actor_name, request_id, what, subject, detail, reference,"
    " is_internal, delivery, attempts, last_error)"
    " VALUES (NOW(), 'system', '', '', 'test', 'test', '', '', 0, '', 0, '')"
)
# Applies each migration of ours, forgets that it was, and applies it again.
TWICE = """
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

loader = MigrationLoader(connection)
OURS = ("shop", "coupons", "inventory", "payments", "orders")
in_order = loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True)
for app, name in in_order:
    call_command("migrate", app, name, verbosity=0)
    if app in OURS:
        MigrationRecorder(connection).record_unapplied(app, name)
        call_command("migrate", app, name, verbosity=0)
"""
SHAPE = {
    "columns": "table_name, column_name, column_type, is_nullable, column_default",
    "statistics": "table_name, index_name, seq_in_index, column_name, non_unique",
    "table_constraints": "table_name, constraint_name, constraint_type",
}


@pytest.fixture
def database() -> Iterator[Connection]:
    """A connection to an empty database, which `manage` migrates."""
    with connected("") as server:
        ask(server, f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        try:
            with connected(DATABASE) as connection:
                yield connection
        finally:
            ask(server, f"DROP DATABASE {DATABASE}")


@contextmanager
def connected(name: str) -> Iterator[Connection]:
    """A client that is no part of the shop. Each statement commits until `begin`."""
    settings = configuration.database("DATABASE_URL", "")
    connection = MySQLdb.connect(
        user=settings["USER"],
        password=settings["PASSWORD"],
        database=name,
        autocommit=True,
        **settings["OPTIONS"],
    )
    with closing(connection):
        yield connection


def ask(connection: Connection, statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def reading_the_journal() -> Iterator[Connection]:
    """Keep a transaction open that has read the journal, as an audit or a dump has."""
    with connected(DATABASE) as reader:
        reader.begin()
        ask(reader, "SELECT COUNT(*) FROM shop_journalline")
        yield reader
        reader.rollback()


def started(*words: str, **settings: str) -> "subprocess.Popen[str]":
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{DATABASE}").geturl()
    return subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | {"DATABASE_URL": url} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its exit code and all that it said."""
    with process:
        try:
            said, _ = process.communicate(timeout=ENDS_WITHIN)
        finally:
            process.kill()
    return process.returncode, said


def manage(*words: str, **settings: str) -> str:
    """What a management command said, which has ended well."""
    code, said = ended(started("manage.py", *words, **settings))
    assert code == 0, said
    return said


def wait_for_blocked(database: Connection) -> None:
    """Return once a statement waits for a table that another connection keeps."""
    deadline = time.monotonic() + STARTS_WITHIN
    blocked = (
        "SELECT 1 FROM information_schema.processlist"
        " WHERE db = DATABASE() AND state LIKE 'Waiting for table metadata lock%'"
    )
    while not ask(database, blocked):
        assert time.monotonic() < deadline, "nothing waits for the table"
        time.sleep(0.05)


def insert_seconds() -> float:
    """How long another connection's INSERT into the journal takes."""
    with connected(DATABASE) as seller:
        began_at = time.monotonic()
        ask(seller, IN_JOURNAL)
        return time.monotonic() - began_at


def shape(database: Connection) -> dict[str, set[Any]]:
    return {
        view: set(
            ask(
                database,
                f"SELECT {names} FROM information_schema.{view} WHERE table_schema = DATABASE()",  # noqa: S608
            )
        )
        for view, names in SHAPE.items()
    }


def test_a_migration_behind_an_open_reader_gives_up_and_the_shop_sells_meanwhile(database: Connection):
    manage(*BEFORE)
    with reading_the_journal():
        migrating = started("manage.py", *APPLY, "--attempts", "2")
        for _ in range(2):
            wait_for_blocked(database)
            assert insert_seconds() < LOCK_WAIT_SECONDS + SLACK_SECONDS
        code, said = ended(migrating)
        assert code == 1
        assert "Run migrate again" in said and "Traceback" not in said, said
        assert insert_seconds() < 1

    manage(*APPLY)
    assert insert_seconds() < 1


def test_a_migration_that_the_reader_leaves_in_time_is_tried_again_and_done(database: Connection):
    manage(*BEFORE)
    with reading_the_journal():
        migrating = started("manage.py", *APPLY)
        wait_for_blocked(database)
        assert insert_seconds() < LOCK_WAIT_SECONDS + SLACK_SECONDS
    code, said = ended(migrating)
    assert code == 0, said
    assert "next try" in said


def test_a_statement_that_takes_longer_than_a_request_may_keeps_its_answer(database: Connection):
    manage(*BEFORE)
    with reading_the_journal() as reader:
        migrating = started("manage.py", *APPLY, "--attempts", "1", DATABASE_READ_TIMEOUT_SECONDS="1")
        wait_for_blocked(database)
        time.sleep(2.5)  # what is waited for is that more than the read timeout passes
        reader.rollback()
    assert ended(migrating)[0] == 0


def test_every_migration_whose_answer_was_lost_is_repeated(database: Connection):
    code, said = ended(started("-c", TWICE))
    assert code == 0, said
    repeated = shape(database)
    ask(database, f"DROP DATABASE {DATABASE}")
    ask(database, f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
    ask(database, f"USE {DATABASE}")
    manage("migrate", "--no-input")
    assert repeated == shape(database)


def test_a_migration_that_was_cut_short_goes_on_with_what_is_missing(database: Connection):
    manage("migrate", "shop", "0006")
    ask(database, "CREATE INDEX shop_journalline_of_actor ON shop_journalline (actor_id, id)")
    manage(*BEFORE)
    indexes = {row[2] for row in ask(database, "SHOW INDEX FROM shop_journalline")}
    assert {"shop_journalline_of_actor", "shop_journalline_of_what", "shop_journalline_by_instant"} <= indexes


def test_a_table_of_another_program_is_not_taken_for_one_of_the_shops(database: Connection):
    ask(database, "CREATE TABLE shop_journalline (id INT PRIMARY KEY)")
    code, said = ended(started("manage.py", "migrate", "--no-input"))
    assert code == 1
    assert "shop_journalline' already exists" in said
