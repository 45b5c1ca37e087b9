"""`migrate` while another connection uses a table, and after an interruption; on a database of its own."""

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

from scripts.tests.circles import boots
from shop import configuration
from shop.management.commands.migrate import LOCK_WAIT_SECONDS, lock_name

DATABASE = f"firstcome_migrate_{os.getpid()}"
MIGRATED = f"{DATABASE}_before"
STARTS_WITHIN, ENDS_WITHIN, SLACK_SECONDS = 30, 120, 5
BEFORE = ("migrate", "shop", "0002")
APPLY = ("migrate", "shop", "9999")
LATER = {"DJANGO_SETTINGS_MODULE": "shop.tests.later_migrations._settings"}
"""With a migration that adds a column and two indexes to the journal."""
IN_JOURNAL = """
INSERT INTO shop_journalline (at, actor, actor_name, request_id, what, subject, detail, reference,
    is_internal) VALUES (NOW(), 'system', '', '', 'test', 'test', '', '', 0)
"""
# Applies each of the shop's migrations, removes its record, and applies it again.
TWICE = """
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

loader = MigrationLoader(connection)
OURS = ("shop", "accounts", "events", "coupons", "inventory", "payments", "sales", "orders")
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
def database():
    """A connection to an empty database, which `manage` migrates."""
    with new_database(DATABASE), connected(DATABASE) as connection:
        yield connection


@pytest.fixture(scope="module")
@boots("a management command")
def _migrated_database():
    """A database with the migrations of `BEFORE`."""
    with new_database(MIGRATED):
        manage(*BEFORE, database=MIGRATED)
        yield


@pytest.fixture
def migrated(database, _migrated_database):
    """A connection to a database of the test's own with the migrations of `BEFORE`: a copy."""
    ask(database, "SET foreign_key_checks = 0")
    for [table] in ask(database, f"SHOW TABLES FROM {MIGRATED}"):
        [(_, definition)] = ask(database, f"SHOW CREATE TABLE {MIGRATED}.{table}")
        ask(database, definition)
        # Not where there are none: a table with a generated column takes no rows so.
        if ask(database, f"SELECT 1 FROM {MIGRATED}.{table} LIMIT 1"):  # noqa: S608
            ask(database, f"INSERT INTO {table} SELECT * FROM {MIGRATED}.{table}")  # noqa: S608
    ask(database, "SET foreign_key_checks = 1")
    return database


@contextmanager
def connected(name: str) -> Iterator[Connection]:
    """A client outside the shop. Each statement commits until `begin`."""
    settings = configuration.database("DATABASE_URL")
    connection = MySQLdb.connect(
        user=settings["USER"],
        password=settings["PASSWORD"],
        database=name,
        autocommit=True,
        **settings["OPTIONS"],
    )
    with closing(connection):
        yield connection


@contextmanager
def new_database(name: str):
    """An empty database of this name, dropped afterwards."""
    with connected("") as server:
        ask(server, f"DROP DATABASE IF EXISTS {name}")
        ask(server, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            yield
        finally:
            ask(server, f"DROP DATABASE {name}")


def ask(connection, statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def reading_the_journal() -> Iterator[Connection]:
    """Keep a transaction open that has read the journal, like an audit or a dump."""
    with connected(DATABASE) as reader:
        reader.begin()
        ask(reader, "SELECT COUNT(*) FROM shop_journalline")
        yield reader
        reader.rollback()


def started(*words: str, database: str = DATABASE, option="", **settings: str) -> "subprocess.Popen[str]":
    parts = urlsplit(os.environ["DATABASE_URL"])
    query = "&".join(filter(None, (parts.query, option)))
    url = parts._replace(path=f"/{database}", query=query).geturl()
    return subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | LATER | {"DATABASE_URL": url} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    with process:
        try:
            output, _ = process.communicate(timeout=ENDS_WITHIN)
        finally:
            process.kill()
    return process.returncode, output


def succeeded(process: "subprocess.Popen[str]") -> str:
    """The output of the process, which must succeed."""
    code, output = ended(process)
    assert code == 0, output
    return output


def manage(*words: str, database: str = DATABASE) -> str:
    """The output of a management command, which must succeed."""
    return succeeded(started("manage.py", *words, database=database))


BEHIND_A_TABLE = "state LIKE 'Waiting for table metadata lock%'"
BEHIND_A_MIGRATE = "state LIKE 'User%lock%' AND info LIKE '%GET_LOCK%'"


def wait_for(waiting: str, database: Connection):
    """Return once a statement waits for a table that is in use, or for the lock of `migrate`."""
    deadline = time.monotonic() + STARTS_WITHIN
    statement = f"SELECT 1 FROM information_schema.processlist WHERE db = DATABASE() AND {waiting}"  # noqa: S608
    while not ask(database, statement):
        assert time.monotonic() < deadline, f"nothing waits: {waiting}"
        time.sleep(0.05)


def insert_seconds() -> float:
    with connected(DATABASE) as seller:
        began_at = time.monotonic()
        ask(seller, IN_JOURNAL)
        return time.monotonic() - began_at


def shape(database: Connection) -> dict[str, set[Any]]:
    here = "WHERE table_schema = DATABASE()"
    return {
        view: set(ask(database, f"SELECT {names} FROM information_schema.{view} {here}"))  # noqa: S608
        for view, names in SHAPE.items()
    }


@pytest.mark.boots("a management command")
def test_a_migration_behind_an_open_reader_gives_up_and_the_shop_sells_meanwhile(migrated):
    with reading_the_journal():
        migrating = started("manage.py", *APPLY, "--attempts", "2")
        for _ in range(2):
            wait_for(BEHIND_A_TABLE, migrated)
            assert insert_seconds() < LOCK_WAIT_SECONDS + SLACK_SECONDS
        code, output = ended(migrating)
        assert code == 1
        assert "Run migrate again" in output and "Traceback" not in output, output
        assert insert_seconds() < 1

    manage(*APPLY)
    assert insert_seconds() < 1


def test_a_migration_that_loses_a_deadlock_with_sales_is_tried_again(migrated):
    ask(
        migrated,
        "CREATE TRIGGER deadlock BEFORE INSERT ON django_migrations FOR EACH ROW BEGIN "
        "IF @met IS NULL THEN SET @met = 1; "
        "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'Deadlock found'; END IF; END",
    )
    assert "next attempt in" in manage(*APPLY, "--attempts", "2")


def test_a_migration_is_retried_and_applied_once_the_reader_has_ended(migrated):
    with reading_the_journal():
        migrating = started("manage.py", *APPLY)
        wait_for(BEHIND_A_TABLE, migrated)
        assert insert_seconds() < LOCK_WAIT_SECONDS + SLACK_SECONDS
    assert "next attempt" in succeeded(migrating)


def test_a_second_migration_waits_for_the_first_and_a_check_does_not(migrated):
    with reading_the_journal() as reader:
        first = started("manage.py", *APPLY, "--attempts", "20")
        wait_for(BEHIND_A_TABLE, migrated)
        second = started("manage.py", *APPLY, "--attempts", "1")
        wait_for(BEHIND_A_MIGRATE, migrated)
        assert ask(migrated, f"SELECT IS_FREE_LOCK('{lock_name(DATABASE)}')") == [(0,)]
        assert ended(started("manage.py", "migrate", "--check", "--no-input"))[0] == 1
        assert second.poll() is None
        reader.rollback()
    assert "Another migrate" not in succeeded(first)
    output = succeeded(second)
    assert "Another migrate is changing this database" in output
    assert "No migrations to apply" in output
    assert ask(migrated, f"SELECT IS_FREE_LOCK('{lock_name(DATABASE)}')") == [(1,)]


@pytest.mark.boots("a management command")
def test_the_lock_of_a_migration_is_of_its_database_and_ends_with_its_connection(database):
    assert lock_name("one") != lock_name("other")
    assert len(lock_name("n" * 64)) == 64
    with connected(DATABASE) as other:
        assert ask(other, f"SELECT GET_LOCK('{lock_name(DATABASE)}', 0)") == [(1,)]
        waiting = started("manage.py", "migrate", "contenttypes", "0001")
        wait_for(BEHIND_A_MIGRATE, database)
        assert ask(database, "SHOW TABLES") == []
        [(holder,)] = ask(other, "SELECT CONNECTION_ID()")
    output = succeeded(waiting)
    assert "Another migrate is changing this database" in output
    assert f"Its lock is held by connection {holder} " in output


def test_a_statement_may_take_longer_than_the_read_timeout_of_requests(migrated):
    with reading_the_journal() as reader:
        migrating = started("manage.py", *APPLY, "--attempts", "1", option="read_timeout=1")
        wait_for(BEHIND_A_TABLE, migrated)
        time.sleep(2.5)  # longer than the read timeout
        reader.rollback()
    succeeded(migrating)


@pytest.mark.boots("a Python process")
def test_every_migration_can_be_applied_again_after_a_lost_reply(database):
    succeeded(started("-c", TWICE))
    repeated = shape(database)
    ask(database, f"DROP DATABASE {DATABASE}")
    ask(database, f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
    ask(database, f"USE {DATABASE}")
    manage("migrate", "--no-input")
    assert repeated == shape(database)


@pytest.mark.boots("a management command")
def test_an_interrupted_migration_applies_only_what_is_missing(migrated):
    ask(migrated, "ALTER TABLE shop_journalline ADD COLUMN later int NULL")
    ask(migrated, "CREATE INDEX shop_journalline_of_request ON shop_journalline (request_id)")
    manage(*APPLY)
    indexes = {row[2] for row in ask(migrated, "SHOW INDEX FROM shop_journalline")}
    assert {"shop_journalline_of_request", "shop_journalline_by_later"} <= indexes


@pytest.mark.boots("a management command")
@pytest.mark.parametrize("words", [("--no-input",), ("--check",)])
def test_a_database_of_the_first_releases_is_refused_in_one_line(words, database):
    ask(
        database,
        "CREATE TABLE django_migrations (id bigint AUTO_INCREMENT PRIMARY KEY, app varchar(255) NOT NULL,"
        " name varchar(255) NOT NULL, applied datetime(6) NOT NULL)",
    )
    ask(database, "INSERT INTO django_migrations VALUES (1, 'shop', '0003_journal', NOW())")
    code, output = ended(started("manage.py", "migrate", *words))
    assert code == 1
    [line] = output.splitlines()
    assert line.startswith(f"OldDatabase: The database {DATABASE} was made by release 1.x"), line
    assert ask(database, "SHOW TABLES") == [("django_migrations",)]


@pytest.mark.boots("a management command")
def test_a_table_of_another_program_is_not_mistaken_for_the_shops(database):
    ask(database, "CREATE TABLE shop_journalline (id INT PRIMARY KEY)")
    code, output = ended(started("manage.py", "migrate", "--no-input"))
    assert code == 1
    assert "shop_journalline' already exists" in output
