"""Constraints of the schema that no shard can hold by itself: foreign keys and unique values over shards."""

from collections.abc import Iterator

from django.apps import apps
from django.db.models import ForeignKey, Model, UniqueConstraint

from scripts.scale.statements.shards import KEYS, SHARDED, Family, family_of, keys_of

# Their value is drawn from so many that two shards don't draw the same; the shard's own index holds it there.
RANDOM = {"id", "charge_key"}


def foreign_keys() -> Iterator[tuple[str, str]]:
    """The foreign keys of sharded or local tables whose rows may be on another shard: column, table."""
    for model in _models():
        for field in model._meta.concrete_fields:
            if isinstance(field, ForeignKey):
                target = field.related_model
                if isinstance(target, type) and not _is_together(model, target):
                    yield f"{model._meta.db_table}.{field.column}", target._meta.db_table


def unique_values() -> Iterator[tuple[str, str]]:
    """What is unique over all shards, but is held by each shard for its own rows: table, columns."""
    for model in _models():
        table = model._meta.db_table
        column_of = {field.name: str(field.column) for field in model._meta.concrete_fields}
        groups = [one.fields for one in model._meta.constraints if isinstance(one, UniqueConstraint)]
        groups += [(field.name,) for field in model._meta.concrete_fields if field.unique]
        for names in groups:
            columns = {column_of[name] for name in names}
            if family_of(table) in SHARDED and not columns & {*keys_of(table), *RANDOM}:
                yield table, ", ".join(sorted(columns))


def _models() -> Iterator[type[Model]]:
    return (model for model in apps.get_models() if model._meta.db_table in KEYS)


def _is_together(model: type[Model], target: type[Model]) -> bool:
    """Whether a row and what it refers to are always on the same shard."""
    here, there = family_of(model._meta.db_table), family_of(target._meta.db_table)
    return here is there and here is not Family.LOCAL
