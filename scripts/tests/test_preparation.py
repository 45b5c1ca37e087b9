"""When a start may skip the preparation: only if nothing that it looks after has changed."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from scripts.stack import environment as environments
from scripts.stack import preparation
from scripts.stack.instance import Instance


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    """An instance as its first preparation leaves it."""
    instance = Instance(home=tmp_path, port=8000, database="sqlite")
    for folder in (instance.data, instance.static / "admin"):
        folder.mkdir(parents=True)
    change(
        instance,
        "CREATE TABLE django_migrations (app, name)",
        "INSERT INTO django_migrations VALUES ('shop', '0001_initial')",
        "CREATE TABLE auth_user (id)",
        "INSERT INTO auth_user VALUES (1)",
    )
    preparation.remember(instance)
    return instance


@pytest.fixture
def environment(instance: Instance) -> Mapping[str, str]:
    return environments.compose(instance, {})


def change(instance: Instance, *statements: str) -> None:
    with closing(sqlite3.connect(instance.data / "firstcome.sqlite3")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_nothing_to_do_when_nothing_changed(instance: Instance, environment: Mapping[str, str]):
    change(instance, "INSERT INTO auth_user VALUES (2)")
    assert preparation.is_current(instance, environment)


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM auth_user", "DELETE FROM django_migrations", "DROP TABLE auth_user"],
)
def test_a_database_that_lost_something_is_prepared_again(
    instance: Instance, environment: Mapping[str, str], statement: str
):
    change(instance, statement)
    assert not preparation.is_current(instance, environment)


def test_a_database_that_is_gone_is_prepared_again(instance: Instance, environment: Mapping[str, str]):
    (instance.data / "firstcome.sqlite3").unlink()
    assert not preparation.is_current(instance, environment)


def test_static_files_that_are_gone_are_collected_again(instance: Instance, environment: Mapping[str, str]):
    (instance.static / "admin").rmdir()
    assert not preparation.is_current(instance, environment)


def test_a_preparation_that_did_not_end_is_done_again(instance: Instance, environment: Mapping[str, str]):
    preparation.forget(instance)
    assert not preparation.is_current(instance, environment)


def test_a_new_migration_is_a_change(
    instance: Instance, environment: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = tmp_path / "project"
    (project / "shop" / "migrations").mkdir(parents=True)
    monkeypatch.setattr("scripts.stack.places.PROJECT", project)
    preparation.remember(instance)
    assert preparation.is_current(instance, environment)
    (project / "shop" / "migrations" / "0002_more.py").write_text("")
    assert not preparation.is_current(instance, environment)
