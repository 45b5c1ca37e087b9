"""`make schema-changes`: lists the algorithm that MariaDB needs for each schema change of the migrations.

Each statement is applied to an empty database with `ALGORITHM=…, LOCK=…`, the least costly first, and the
first that the server accepts is listed. A change that copies its table or blocks writers meanwhile is refused
in a new migration (`blocking_changes`), unless the migration's module says in `BLOCKS_WRITERS_BECAUSE` why it
may.
"""

import contextlib
import importlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import django
from django.db import Error

from scripts.stack import SetupError, children, places, throwaway

PAGE = places.PROJECT / "docs" / "reference" / "schema-changes.md"
DATABASE = "firstcome_schema_changes"
REASON = "BLOCKS_WRITERS_BECAUSE"
"""The attribute of a migration's module that says why a table may be copied."""
ONLINE = ("INSTANT", "NOCOPY, LOCK=NONE", "INPLACE, LOCK=NONE")
CHOICES = (*ONLINE, "NOCOPY, LOCK=SHARED", "INPLACE, LOCK=SHARED", "COPY, LOCK=SHARED")
"""Algorithms and locks, the least costly first. LOCK=NONE lets others write meanwhile, SHARED only read."""
# The server doesn't offer the algorithm or the lock for this change, or doesn't know the algorithm.
NOT_SUPPORTED = {1845, 1846, 1800}
TABLE = re.compile(r"^(?:ALTER TABLE|CREATE (?:UNIQUE )?INDEX \S+ ON|DROP INDEX \S+ ON) `?(\w+)`?")
DROP_INDEX = re.compile(r"^DROP INDEX (\S+) ON (\S+)")
CREATED = re.compile(r"^CREATE TABLE `(\w+)`")
HEAD = """<!-- Generated: `make schema-changes` writes this page. -->

# Schema changes

Which algorithm MariaDB needs for each statement by which a migration changes a table. Each statement was
run on an empty database with `ALGORITHM=…, LOCK=…`, the least costly first, and the first one that the
server accepted is listed (`scripts/schema_changes.py`). A test repeats this and compares
(`scripts/tests/test_schema_changes.py`).

| algorithm | what the shop notices |
| --- | --- |
| INSTANT | only the description of the table changes: no time, however many rows |
| NOCOPY, LOCK=NONE | an index is made beside the table, while others read and write |
| INPLACE, LOCK=NONE | the table is rebuilt, while others read and write |
| COPY, LOCK=SHARED | the table is copied, and **every writer waits until the end** |

A migration since the last release may copy no table and block no writers. Where one has to, because the
table stays small, its module says so in `BLOCKS_WRITERS_BECAUSE`, and this page shows the reason. The
test refuses any other. Statements on a table that the same migration creates are not listed, for it has
no rows, and neither are data migrations, which change some 1,000 rows a transaction
([CONTRIBUTING.md](../../CONTRIBUTING.md#migrations)).

| migration | table | statement | algorithm |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A statement of a migration on a table that was there before, and the algorithm that it needed."""

    migration: tuple[str, str]
    table: str
    statement: str
    algorithm: str

    @property
    def name(self) -> str:
        return ".".join(self.migration)


def main() -> int:
    """List the changes; with `--apply` print them as JSON, of the server that the environment leads to."""
    with contextlib.ExitStack() as started:
        if "--apply" not in sys.argv:
            made = tempfile.TemporaryDirectory(prefix="firstcome-schema-", ignore_cleanup_errors=True)
            home = Path(started.enter_context(made)).resolve()
            os.environ |= started.enter_context(throwaway.servers(home))
        os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
        django.setup()
        found = _apply_all()
        if "--apply" in sys.argv:
            print(json.dumps([astuple(change) for change in found]))
        else:
            PAGE.write_text(page(found))
            print(f"{len(found)} statements are listed in {PAGE.relative_to(places.PROJECT)}")
    return 0


def _apply_all() -> list[Change]:
    """Apply every migration to an empty database of its own; each change with its algorithm."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    changes: list[Change] = []
    created_by: dict[str, tuple[str, str]] = {}
    migration = ("", "")

    class Editor(connection.SchemaEditorClass):  # type: ignore[name-defined]
        def execute(self, sql: Any, params: Any = ()) -> None:
            statement, execute = str(sql), partial(super().execute, params=params)
            if created := CREATED.match(statement):
                created_by[created[1]] = migration
            if (changed := TABLE.match(statement)) is None:
                execute(statement)
                return
            algorithm = _execute_at_least_cost(statement, execute)
            if created_by.get(changed[1]) != migration and migration[0] in places.APPS_WITH_TABLES:
                # What it does to the table, without its name.
                said = re.sub(r"^ALTER TABLE \S+ ", "", statement.replace("`", "")).strip()
                changes.append(Change(migration, changed[1], said, algorithm))

    def note_progress(action: str, begun: Any = None, fake: bool | None = False) -> None:
        nonlocal migration
        if action == "apply_start":
            migration = (begun.app_label, begun.name)

    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        cursor.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
    connection.close()
    connection.settings_dict["NAME"] = DATABASE
    connection.SchemaEditorClass = Editor
    executor = MigrationExecutor(connection, progress_callback=note_progress)
    executor.migrate(executor.loader.graph.leaf_nodes())
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {DATABASE}")
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
    raise SetupError(f"the server refuses every algorithm for: {statement}")


def blocking_changes(changes: Iterable[Change], *, released: Collection[tuple[str, str]]) -> list[str]:
    """What migrations that are not `released` do while writers wait, unless their module says why."""
    new = [one for one in changes if one.algorithm not in ONLINE and one.migration not in released]
    return [
        f"{change.name}: {change.statement} on {change.table} needs {change.algorithm}: writers wait until "
        f"the table is copied. Change it otherwise, or say in {REASON} why the table stays small."
        for change in new
        if not reason_of(change.migration)
    ]


def reason_of(migration: tuple[str, str]) -> str:
    """Why this migration may copy a table; empty when its module doesn't say."""
    app, name = migration
    return str(getattr(importlib.import_module(f"{app}.migrations.{name}"), REASON, ""))


def page(changes: Iterable[Change]) -> str:
    """The page's text: a row for each statement, and the reasons of migrations that have one."""
    listed = sorted(changes, key=lambda change: change.migration)
    rows = [f"| {each.name} | {each.table} | `{each.statement}` | {each.algorithm} |\n" for each in listed]
    reasons = {each.name: reason_of(each.migration) for each in listed}
    said = [f"- {name}: {reason}\n" for name, reason in reasons.items() if reason]
    return HEAD + "".join(rows) + ("\nWhy writers may wait:\n\n" + "".join(said) if said else "")


if __name__ == "__main__":
    sys.exit(children.run_command("schema-changes", main))
