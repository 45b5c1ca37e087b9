"""Migrations change large tables while the shop sells: the server says which of them it copies for that.

Each statement is applied to an empty database with `ALGORITHM=…, LOCK=…`, the least costly first, until the
server accepts one. A new migration may copy no table and block no writers, unless its module says in
`BLOCKS_WRITERS_BECAUSE` why it may.
"""

import importlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from django.db import Error, connections
from django.db.migrations.executor import MigrationExecutor
from pytest_django.plugin import DjangoDbBlocker

from scripts.stack import places
from scripts.tests import previous_release

DATABASE = "firstcome_schema_changes"
ONLINE = ("INSTANT", "NOCOPY, LOCK=NONE", "INPLACE, LOCK=NONE")
CHOICES = (*ONLINE, "NOCOPY, LOCK=SHARED", "INPLACE, LOCK=SHARED", "COPY, LOCK=SHARED")
"""LOCK=NONE lets others write meanwhile, SHARED only read."""
# The server doesn't offer the algorithm or the lock for this change, or doesn't know the algorithm.
NOT_SUPPORTED = {1845, 1846, 1800}
TABLE = re.compile(r"^(?:ALTER TABLE|CREATE (?:UNIQUE )?INDEX \S+ ON|DROP INDEX \S+ ON) `?(\w+)`?")
DROP_INDEX = re.compile(r"^DROP INDEX (\S+) ON (\S+)")
CREATED = re.compile(r"^CREATE TABLE `(\w+)`")


@dataclass(frozen=True)
class Change:
    """A statement of a migration on a table that was there before, and the algorithm that it needed."""

    migration: tuple[str, str]
    statement: str
    algorithm: str


@pytest.fixture
def changes(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[list[Change]]:
    """Every migration, applied to an empty database of the throwaway server."""
    with django_db_blocker.unblock():
        usual = connections["default"]
        with usual.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
            cursor.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        own = connections.create_connection("default")
        own.settings_dict = usual.settings_dict | {"NAME": DATABASE}
        connections["default"] = own
        try:
            yield _apply_all(own)
        finally:
            own.close()
            connections["default"] = usual
            with usual.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {DATABASE}")


def _apply_all(connection: Any) -> list[Change]:
    changes: list[Change] = []
    created_by: dict[str, tuple[str, str]] = {}
    migration = ("", "")

    class Editor(connection.SchemaEditorClass):
        def execute(self, sql: Any, params: Any = ()) -> None:
            statement, execute = str(sql), partial(super().execute, params=params)
            if created := CREATED.match(statement):
                created_by[created[1]] = migration
            if (changed := TABLE.match(statement)) is None:
                execute(statement)
                return
            algorithm = _execute_at_least_cost(statement, execute)
            if created_by.get(changed[1]) != migration and migration[0] in places.APPS_WITH_TABLES:
                changes.append(Change(migration, statement, algorithm))

    def note_progress(action: str, begun: Any = None, fake: bool = False) -> None:
        nonlocal migration
        if action == "apply_start":
            migration = (begun.app_label, begun.name)

    connection.SchemaEditorClass = Editor
    executor = MigrationExecutor(connection, progress_callback=note_progress)
    executor.migrate(executor.loader.graph.leaf_nodes())
    return changes


def _execute_at_least_cost(statement: str, execute: Callable[[str], None]) -> str:
    """Execute it by the first algorithm that the server accepts, and return its name."""
    # MariaDB's DROP INDEX takes no algorithm; it is this ALTER TABLE.
    statement = DROP_INDEX.sub(r"ALTER TABLE \2 DROP INDEX \1", statement)
    comma = "," if statement.startswith("ALTER") else ""
    for choice in CHOICES:
        try:
            execute(f"{statement}{comma} ALGORITHM={choice.replace(',', comma)}")
        except Error as error:
            if error.args[0] not in NOT_SUPPORTED:
                raise
        else:
            return choice
    raise AssertionError(f"the server refuses every algorithm for: {statement}")


def blocking(changes: Iterable[Change], *, released: Collection[tuple[str, str]]) -> list[Change]:
    """What migrations that are not `released` do while writers wait, unless their module says why."""
    new = [one for one in changes if one.algorithm not in ONLINE and one.migration not in released]
    return [change for change in new if not reason_of(change.migration)]


def reason_of(migration: tuple[str, str]) -> str:
    app, name = migration
    return str(getattr(importlib.import_module(f"{app}.migrations.{name}"), "BLOCKS_WRITERS_BECAUSE", ""))


@pytest.mark.boots("git")
def test_no_migration_since_the_last_release_has_writers_wait_without_a_reason(changes):
    assert {one.algorithm for one in changes} <= {*CHOICES} and changes
    assert blocking(changes, released=previous_release.migrations()) == []


def test_a_new_migration_that_copies_a_table_is_refused_until_its_module_says_why(monkeypatch):
    copies = Change(("orders", "9999_new"), "ALTER TABLE x ADD CONSTRAINT y CHECK (1)", "COPY, LOCK=SHARED")
    reasons = {copies.migration: ""}
    monkeypatch.setitem(globals(), "reason_of", reasons.__getitem__)
    assert blocking([copies], released=set()) == [copies]
    assert blocking([copies], released={copies.migration}) == []
    reasons[copies.migration] = "The table has a row for each campaign."
    assert blocking([copies], released=set()) == []
