"""Migrations change large tables while the shop sells: the server says which of them it copies for that."""

import json
import sys

import pytest

from scripts import schema_changes
from scripts.schema_changes import Change
from scripts.tests import previous_release, programs

COPIES = Change(("orders", "9999_new"), "orders_order", "ADD CONSTRAINT x CHECK (1)", "COPY, LOCK=SHARED")


@pytest.fixture(scope="module")
def changes() -> list[Change]:
    """Every migration, applied to an empty database of the throwaway server."""
    printed = programs.run([sys.executable, "-m", "scripts.schema_changes", "--apply"], seconds=300)
    rows = json.loads(printed.splitlines()[-1])
    return [Change((app, name), *others) for (app, name), *others in rows]


@pytest.mark.boots("migrations, and git")
def test_the_page_lists_each_schema_change_with_the_algorithm_that_the_server_needs(changes: list[Change]):
    text = schema_changes.page(changes)
    assert schema_changes.PAGE.read_text() == text, "run `make schema-changes`"


@pytest.mark.boots("migrations, and git")
def test_no_migration_since_the_last_release_has_writers_wait_without_a_reason(changes: list[Change]):
    released = previous_release.migrations()
    assert schema_changes.blocking_changes(changes, released=released) == []


def test_a_new_migration_that_copies_a_table_is_refused_until_its_module_says_why(
    monkeypatch: pytest.MonkeyPatch,
):
    reasons = {COPIES.migration: ""}
    monkeypatch.setattr(schema_changes, "reason_of", reasons.__getitem__)
    [line] = schema_changes.blocking_changes([COPIES], released=set())
    assert line.startswith("orders.9999_new: ADD CONSTRAINT x CHECK (1) on orders_order needs COPY")
    assert schema_changes.blocking_changes([COPIES], released={COPIES.migration}) == []
    reasons[COPIES.migration] = "The table has a row for each campaign."
    assert schema_changes.blocking_changes([COPIES], released=set()) == []
