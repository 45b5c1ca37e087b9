"""When a start may skip the preparation: only if nothing that it looks after has changed."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from scripts.stack import environment, instance as instances, preparation
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


def change(instance: Instance, *statements: str) -> None:
    with closing(sqlite3.connect(instance.data / "firstcome.sqlite3")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


@pytest.mark.parametrize(
    "lose",
    [
        lambda instance: change(instance, "DELETE FROM auth_user"),
        lambda instance: change(instance, "DELETE FROM django_migrations"),
        lambda instance: change(instance, "DROP TABLE auth_user"),
        lambda instance: (instance.data / "firstcome.sqlite3").unlink(),
        lambda instance: (instance.static / "admin").rmdir(),
        lambda instance: (instance.data / "prepared").unlink(),
    ],
)
def test_what_lost_something_or_did_not_end_is_prepared_again(instance, lose):
    lose(instance)
    assert not preparation.is_current(instance, environment.compose(instance, {}))


@pytest.mark.boots("a Python process")
def test_a_state_of_the_first_releases_is_refused_in_one_line_that_says_what_to_do(tmp_path):
    instance = Instance(home=tmp_path, port=8000, database="sqlite")
    for folder in (instance.run, instance.data, instance.logs):
        folder.mkdir()
    instances.remember(instance)
    change(
        instance,
        "CREATE TABLE django_migrations (id integer PRIMARY KEY, app, name, applied datetime)",
        "INSERT INTO django_migrations VALUES (1, 'shop', '0003_journal', '2026-11-22')",
    )
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.stack.preparation"],
        env=environment.compose(instance, {"PATH": os.environ["PATH"]}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"firstcome: {instance.data} was made by release 1.x")
    assert ran.stderr.count("\n") == 1 and "VAR=FOLDER" in ran.stderr
