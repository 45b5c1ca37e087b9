"""What migrations do while the shop sells: to processes of the release before, and to writers of tables.

Each statement is applied to an empty database with `ALGORITHM=…, LOCK=…`, the least costly first, until the
server accepts one. A new migration may copy no table and block no writers, unless its module says in
`BLOCKS_WRITERS_BECAUSE` why it may.
"""

import importlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial

import pytest
from django.db import Error, connections, migrations, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from foundation.tests.case_tables import in_one_test
from foundation.tests.second_connection import another_connection, in_its_place
from scripts.stack import places
from scripts.tests import previous_release
from shop.tests.test_migrate import new_database

Name = tuple[str, str]
"""A migration by its app and its name."""


def problems(loader: MigrationLoader, *, released: Collection[Name]) -> list[str]:
    """What in the migrations that are not `released` the code before them can't work with, a line each."""
    before = [name for name in loader.graph.nodes if name[0] not in places.LABELS or name in released]
    used = loader.project_state(before).models
    found: list[str] = []
    database = ProjectState(real_apps=loader.unmigrated_apps)
    in_order = loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True)
    for name in sorted(in_order, key=lambda name: name not in before):
        migration = loader.graph.nodes[name]
        for operation in migration.operations:
            _apply(operation, name[0], database)
        if name not in before:
            new = [*_long_transactions(migration), *_lost(used, database)]
            said = {line.partition(": ")[2] for line in found}
            found += [f"{'.'.join(name)}: {line}" for line in new if line not in said]
    return found


def _apply(operation, app, database):
    """Do to the state what the operation does to the tables."""
    if isinstance(operation, migrations.SeparateDatabaseAndState):
        for each in operation.database_operations:
            each.state_forwards(app, database)
    else:
        operation.state_forwards(app, database)


def _long_transactions(migration):
    for operation in migration.operations:
        if isinstance(operation, migrations.RunPython) and migration.atomic and operation.atomic is not False:
            yield "changes data in one transaction, whose locks hold up the shop: set `atomic = False`"


def _lost(used, database):
    """What models of the release before miss in their tables, or would have to write there."""
    for name, model in used.items():
        if name[0] not in places.LABELS:
            continue
        now = database.models.get(name)
        if now is None or now.options.get("db_table") != model.options.get("db_table"):
            yield f"the table of {'.'.join(name)} is gone"
        else:
            yield from _lost_columns(model, now)


def _lost_columns(model, now):
    table = f"{model.app_label}.{model.name_lower}"
    yield from (f"{table}.{gone} is gone" for gone in model.fields.keys() - now.fields.keys())
    for name, field in now.fields.items():
        known = model.fields.get(name)
        is_written = not (field.many_to_many or field.generated or field.null)
        if known is None and is_written and field.db_default is models.NOT_PROVIDED:
            yield f"{table}.{name} is NOT NULL without a `db_default`, and the code before doesn't write it"
        if known is not None and known.null and not field.null:
            yield f"{table}.{name} is NOT NULL now, and the code before writes NULL"


NEW = ("orders", "9999_new")


def backfill(apps, schema_editor):
    """A data migration, of which only its transaction is looked at."""


def with_one_more(*operations: Operation, atomic=True) -> list[str]:
    """What is wrong with one more migration of orders, when all that there are have been released."""
    loader = MigrationLoader(None)
    released = set(loader.graph.nodes)
    [last] = loader.graph.leaf_nodes("orders")
    migration = type("Migration", (migrations.Migration,), {"operations": list(operations), "atomic": atomic})
    loader.graph.add_node(NEW, migration("9999_new", "orders"))
    loader.graph.add_dependency(None, NEW, last)
    return problems(loader, released=released)


@pytest.mark.boots("git")
def test_the_release_before_works_on_the_schema_of_every_migration_since(tmp_path):
    released = previous_release.migrations(tmp_path / "code")
    assert ("orders", "0001_initial") in released
    assert problems(MigrationLoader(None), released=released) == []


@in_one_test(
    ("operation", "problem"),
    [
        (
            migrations.AddField("order", "note", models.CharField(max_length=9, default="")),
            "orders.order.note is NOT NULL without",
        ),
        (
            migrations.AddField("order", "by", models.ForeignKey("auth.User", models.PROTECT)),
            "orders.order.by is NOT NULL without",
        ),
        (
            migrations.AlterField("order", "paid_at", models.DateTimeField()),
            "orders.order.paid_at is NOT NULL now",
        ),
        (migrations.RemoveField("order", "currency"), "orders.order.currency is gone"),
        (migrations.RenameField("order", "currency", "unit"), "orders.order.currency is gone"),
        (migrations.RenameModel("refundline", "refunditem"), "the table of orders.refundline is gone"),
        (migrations.AlterModelTable("order", "orders"), "the table of orders.order is gone"),
        (migrations.DeleteModel("refundline"), "the table of orders.refundline is gone"),
        (migrations.RunPython(backfill), "changes data in one transaction"),
    ],
)
def test_a_migration_that_breaks_the_release_before_is_named_with_what_it_breaks(operation, problem):
    found = with_one_more(operation)
    assert any(line.startswith(f"orders.9999_new: {problem}") for line in found), found


@in_one_test(
    "operation",
    [
        migrations.AddField("order", "note", models.CharField(max_length=9, db_default="")),
        migrations.AddField("order", "noted_at", models.DateTimeField(null=True)),
        migrations.CreateModel("note", [("id", models.BigAutoField(primary_key=True))]),
        migrations.AddIndex("order", models.Index(fields=["currency"], name="orders_order_by_currency")),
        # How a column goes: one release stops using it and gives it a default, the next one drops it.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.AlterField("order", "currency", models.CharField(max_length=3, db_default="KRW"))
            ],
            state_operations=[migrations.RemoveField("order", "currency")],
        ),
    ],
)
def test_a_migration_that_the_release_before_does_not_notice_passes(operation):
    assert with_one_more(operation) == []


def test_a_data_migration_that_commits_its_batches_passes():
    assert with_one_more(migrations.RunPython(backfill), atomic=False) == []


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
def changes(django_db_setup, django_db_blocker):
    """Every migration, applied to an empty database of the throwaway server."""
    with django_db_blocker.unblock(), new_database(DATABASE), another_connection() as own:
        own.settings_dict = connections["default"].settings_dict | {"NAME": DATABASE}
        with in_its_place(own):
            yield _apply_all(own)


def _apply_all(connection):
    changes: list[Change] = []
    created_by: dict[str, tuple[str, str]] = {}
    migration = ("", "")

    class Editor(connection.SchemaEditorClass):
        def execute(self, sql, params=()):
            statement, execute = str(sql), partial(super().execute, params=params)
            if created := CREATED.match(statement):
                created_by[created[1]] = migration
            if (changed := TABLE.match(statement)) is None:
                execute(statement)
                return
            algorithm = _execute_at_least_cost(statement, execute)
            if created_by.get(changed[1]) != migration and migration[0] in places.LABELS:
                changes.append(Change(migration, statement, algorithm))

    def note_progress(action, begun=None, fake=False):
        nonlocal migration
        if action == "apply_start":
            migration = (begun.app_label, begun.name)

    connection.SchemaEditorClass = Editor
    executor = MigrationExecutor(connection, progress_callback=note_progress)
    executor.migrate(executor.loader.graph.leaf_nodes())
    return changes


def _execute_at_least_cost(statement, execute):
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
def test_no_migration_since_the_last_release_has_writers_wait_without_a_reason(changes, tmp_path):
    assert {one.algorithm for one in changes} <= {*CHOICES} and changes
    assert blocking(changes, released=previous_release.migrations(tmp_path / "code")) == []


def test_a_new_migration_that_copies_a_table_is_refused_until_its_module_says_why(monkeypatch):
    copies = Change(("orders", "9999_new"), "ALTER TABLE x ADD CONSTRAINT y CHECK (1)", "COPY, LOCK=SHARED")
    reasons = {copies.migration: ""}
    monkeypatch.setitem(globals(), "reason_of", reasons.__getitem__)
    assert blocking([copies], released=set()) == [copies]
    assert blocking([copies], released={copies.migration}) == []
    reasons[copies.migration] = "The table has a row for each campaign."
    assert blocking([copies], released=set()) == []
