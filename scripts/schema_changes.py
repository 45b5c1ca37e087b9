"""`make schema-changes`: lists the algorithm that MariaDB needs for each schema change of the migrations.

Each statement is applied to an empty database with `ALGORITHM=…, LOCK=…`, the least costly first, and the
first that the server accepts is listed. A change that copies its table or blocks writers meanwhile is refused
in a new migration (`blocking_changes`), unless the migration's module says in `BLOCKS_WRITERS_BECAUSE` why it
may.
"""

import argparse
import contextlib
import importlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import django
import MySQLdb
from django.db import Error as DatabaseFailure

from scripts.stack import SetupError, children, places, throwaway

PAGE = places.PROJECT / "docs" / "reference" / "schema-changes.md"
DATABASE = "firstcome_schema_changes"
APPLY_SECONDS = 300
REASON = "BLOCKS_WRITERS_BECAUSE"
"""The attribute of a migration's module that says why a table may be copied."""
CHOICES = (
    ("INSTANT", ""),
    ("NOCOPY", "NONE"),
    ("INPLACE", "NONE"),
    ("NOCOPY", "SHARED"),
    ("INPLACE", "SHARED"),
    ("COPY", "SHARED"),
)
"""Algorithms and locks, the least costly first. LOCK=NONE lets others write meanwhile, SHARED only read."""
ONLINE = {"INSTANT", "NOCOPY, LOCK=NONE", "INPLACE, LOCK=NONE"}
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
    parser = argparse.ArgumentParser(prog="make schema-changes")
    parser.add_argument("--apply", action="store_true", help="apply to the empty DATABASE_URL, print as JSON")
    if parser.parse_args().apply:
        django.setup()
        print(json.dumps([asdict(change) for change in apply_all()]))
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="firstcome-schema-", ignore_cleanup_errors=True) as made,
        throwaway.servers(Path(made).resolve()) as settings,
    ):
        found = measure(os.environ | settings)
        # The page has reasons out of the migrations' modules, which read the settings.
        os.environ.update(settings, DJANGO_SETTINGS_MODULE="shop.settings")
        django.setup()
        PAGE.write_text(page(found))
    print(f"{len(found)} statements are listed in {PAGE.relative_to(places.PROJECT)}")
    return 0


def measure(environment: dict[str, str]) -> list[Change]:
    """Apply every migration to a database of its own on this environment's server. Raises SetupError."""
    url, _, options = environment["DATABASE_URL"].partition("?")
    own = environment | {
        "DATABASE_URL": f"{url.rpartition('/')[0]}/{DATABASE}?{options}",
        "DJANGO_SETTINGS_MODULE": "shop.settings",
    }
    with _database(own):
        command = [sys.executable, "-m", "scripts.schema_changes", "--apply"]
        ran = children.run(command, within_seconds=APPLY_SECONDS, environment=own)
    rows = json.loads(children.printed(ran).splitlines()[-1])
    return [Change(**row | {"migration": tuple(row["migration"])}) for row in rows]


@contextlib.contextmanager
def _database(environment: Mapping[str, str]) -> Iterator[None]:
    """Create the empty database of the environment's `DATABASE_URL`, and drop it at the end."""
    url = urlsplit(environment["DATABASE_URL"])
    connection = MySQLdb.connect(
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        **({"host": url.hostname} if url.hostname else {}),
        **({"port": url.port} if url.port else {}),
        **{name: values[0] for name, values in parse_qs(url.query).items() if name == "unix_socket"},
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        name = url.path.removeprefix("/")
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            yield
        finally:
            cursor.execute(f"DROP DATABASE {name}")


def apply_all() -> list[Change]:
    """Apply every migration to the default database, which must be empty; each change with its algorithm."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    recorder = Recorder()
    connection.SchemaEditorClass = recorder.editor_class(connection.SchemaEditorClass)

    def note_progress(action: str, migration: Any = None, fake: bool | None = False) -> None:
        if action == "apply_start":
            recorder.migration = (migration.app_label, migration.name)

    executor = MigrationExecutor(connection, progress_callback=note_progress)
    executor.migrate(executor.loader.graph.leaf_nodes())
    return [change for change in recorder.changes if change.migration[0] in places.APPS_WITH_TABLES]


class Recorder:
    """Applies each statement by the least costly algorithm that the server accepts, and keeps which."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.migration = ("", "")
        self._created_by: dict[str, tuple[str, str]] = {}

    def editor_class(self, base: type[Any]) -> type[Any]:
        """The schema editor of the project's, whose statements this recorder applies."""
        recorder = self

        class Editor(base):
            def execute(self, sql: Any, params: Any = ()) -> None:
                recorder.apply(str(sql), lambda statement: base.execute(self, statement, params))

        return Editor

    def apply(self, statement: str, execute: Callable[[str], None]) -> None:
        """Execute a statement; one that changes a table, with each algorithm until one is accepted."""
        if created := CREATED.match(statement):
            self._created_by[created[1]] = self.migration
        changed = TABLE.match(statement)
        if changed is None:
            execute(statement)
            return
        algorithm = _execute_at_least_cost(statement, execute)
        if self._created_by.get(changed[1]) != self.migration:
            self.changes.append(Change(self.migration, changed[1], _shortened(statement), algorithm))


def _execute_at_least_cost(statement: str, execute: Callable[[str], None]) -> str:
    """Execute it by the first algorithm that the server accepts, and return its name."""
    # MariaDB's DROP INDEX takes no algorithm; it is this ALTER TABLE.
    statement = DROP_INDEX.sub(r"ALTER TABLE \2 DROP INDEX \1", statement)
    comma = "," if statement.startswith("ALTER") else ""
    for algorithm, lock in CHOICES:
        options = f"ALGORITHM={algorithm}{f'{comma} LOCK={lock}' if lock else ''}"
        try:
            execute(f"{statement}{comma} {options}")
        except DatabaseFailure as error:
            if error.args[0] not in NOT_SUPPORTED:
                raise
        else:
            return f"{algorithm}, LOCK={lock}" if lock else algorithm
    raise SetupError(f"the server refuses every algorithm for: {statement}")


def _shortened(statement: str) -> str:
    """What it does to the table, without its name, types and columns' definitions."""
    plain = statement.replace("`", "")
    found = re.match(r"ALTER TABLE \S+ (.*)", plain)
    return (found[1] if found else plain).strip()


def blocking_changes(changes: Iterable[Change], *, released: Collection[tuple[str, str]]) -> list[str]:
    """What migrations that are not `released` do while writers wait, unless their module says why."""
    return [
        f"{change.name}: {change.statement} on {change.table} needs {change.algorithm}: writers wait until "
        f"the table is copied. Change it otherwise, or say in {REASON} why the table stays small."
        for change in changes
        if change.algorithm not in ONLINE
        and change.migration not in released
        and not reason_of(change.migration)
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
