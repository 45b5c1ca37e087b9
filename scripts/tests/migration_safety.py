"""What a migration does to the processes of the release before, which run until they are replaced."""

from collections.abc import Collection, Iterator

from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState

from scripts.stack import places

Name = tuple[str, str]
"""A migration by its app and its name."""


def problems(loader: MigrationLoader, *, released: Collection[Name]) -> list[str]:
    """What in the migrations that are not `released` the code before them can't work with, a line each."""
    before = [
        name for name in loader.graph.nodes if name[0] not in places.APPS_WITH_TABLES or name in released
    ]
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


def _apply(operation: Operation, app: str, database: ProjectState) -> None:
    """Do to the state what the operation does to the tables."""
    if isinstance(operation, migrations.SeparateDatabaseAndState):
        for each in operation.database_operations:
            each.state_forwards(app, database)
    else:
        operation.state_forwards(app, database)


def _long_transactions(migration: migrations.Migration) -> Iterator[str]:
    for operation in migration.operations:
        if isinstance(operation, migrations.RunPython) and migration.atomic and operation.atomic is not False:
            yield "changes data in one transaction, whose locks hold up the shop: set `atomic = False`"


def _lost(used: dict[Name, ModelState], database: ProjectState) -> Iterator[str]:
    """What models of the release before miss in their tables, or would have to write there."""
    for name, model in used.items():
        if name[0] not in places.APPS_WITH_TABLES:
            continue
        now = database.models.get(name)
        if now is None or now.options.get("db_table") != model.options.get("db_table"):
            yield f"the table of {'.'.join(name)} is gone"
        else:
            yield from _lost_columns(model, now)


def _lost_columns(model: ModelState, now: ModelState) -> Iterator[str]:
    table = f"{model.app_label}.{model.name_lower}"
    yield from (f"{table}.{gone} is gone" for gone in model.fields.keys() - now.fields.keys())
    for name, field in now.fields.items():
        known = model.fields.get(name)
        if known is None and _must_be_written(field):
            yield f"{table}.{name} is NOT NULL without a `db_default`, and the code before doesn't write it"
        if known is not None and known.null and not field.null:
            yield f"{table}.{name} is NOT NULL now, and the code before writes NULL"


def _must_be_written(field: models.Field) -> bool:
    is_column = not field.many_to_many and not field.generated
    return is_column and not field.null and field.db_default is models.NOT_PROVIDED
