"""Migrations run while processes of the release before serve: these tests say which ones may."""

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

from scripts.tests import migration_safety, previous_release
from shop.tests.case_tables import in_one_test

NEW = ("orders", "9999_new")


def backfill(apps: object, schema_editor: object) -> None:
    """A data migration, of which only its transaction is looked at."""


def problems(*operations: Operation, atomic: bool = True) -> list[str]:
    """What is wrong with one more migration of orders, when all that there are have been released."""
    loader = MigrationLoader(None)
    released = set(loader.graph.nodes)
    [last] = loader.graph.leaf_nodes("orders")
    migration = type("Migration", (migrations.Migration,), {"operations": list(operations), "atomic": atomic})
    loader.graph.add_node(NEW, migration("9999_new", "orders"))
    loader.graph.add_dependency(None, NEW, last)
    return migration_safety.problems(loader, released=released)


@pytest.mark.boots("git")
def test_the_release_before_works_on_the_schema_of_every_migration_since():
    released = previous_release.migrations()
    assert ("orders", "0001_initial") in released
    assert migration_safety.problems(MigrationLoader(None), released=released) == []


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
def test_a_migration_that_breaks_the_release_before_is_named_with_what_it_breaks(
    operation: Operation, problem: str
):
    found = problems(operation)
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
def test_a_migration_that_the_release_before_does_not_notice_passes(operation: Operation):
    assert problems(operation) == []


def test_a_data_migration_that_commits_its_batches_passes():
    assert problems(migrations.RunPython(backfill), atomic=False) == []
