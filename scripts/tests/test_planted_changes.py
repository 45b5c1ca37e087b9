"""Mistakes planted in what docs/changing.md says to edit: the tests that a row names notice them."""

import ast
import re
import sys
from pathlib import Path

import pytest
from django.db import connection

from scripts.stack import places
from scripts.tests import documented, programs
from scripts.tests.planted_changes import CHANGES, SECTIONS, PlantedChange
from scripts.tests.test_howto import copy_project

ROW = re.compile(r'^\| ([^|]+) \|.*ARGS="([^"]+)"', re.MULTILINE)
SECONDS = 240
of_each_change = pytest.mark.parametrize("change", CHANGES, ids=[change.symbol for change in CHANGES])


def named_tests() -> dict[str, list[str]]:
    """What the rows of these sections run, by their first cells."""
    _, *parts = re.split(r"^## (.+)$", documented.page("changing.md"), flags=re.MULTILINE)
    found = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        if name in SECTIONS:
            found |= {row: arguments.split() for row, arguments in ROW.findall(text)}
    return found


def test_each_row_that_names_tests_has_a_planted_change():
    assert {change.row for change in CHANGES} == named_tests().keys()


@of_each_change
def test_a_planted_change_is_one_of_its_file_and_its_test_one_of_its_row(change):
    module, _, name = change.test.partition("::")
    assert module in named_tests()[change.row]
    assert f"def {name}" in (places.PROJECT / module).read_text()
    present, planted = (places.PROJECT / change.path).read_text(), change.source(places.PROJECT)
    assert ast.dump(ast.parse(planted)) != ast.dump(ast.parse(present))


def test_a_text_that_is_gone_is_found():
    gone = PlantedChange("", "orders/pricing.py", "fit_amounts", "max(1, ", "max(0, ", "")
    with pytest.raises(LookupError, match="fit_amounts"):
        gone.source(places.PROJECT)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("planted"))


def run_tests(folder: Path, *tests: str) -> tuple[int, str]:
    """The exit code of these tests there, on this process's servers and database, and what they print."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--reuse-db", "-x", "-q", *tests]
    name = connection.settings_dict["NAME"]
    ran = programs.end(command, folder, seconds=SECONDS, TEST_DATABASE_NAME=name)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.boots("pytest in a copy of the project")
def test_without_a_planted_change_these_tests_pass(transactional_db, copy):
    code, printed = run_tests(copy, *dict.fromkeys(change.test for change in CHANGES))
    assert code == pytest.ExitCode.OK, printed


@pytest.mark.boots("pytest in a copy of the project")
@pytest.mark.django_db(transaction=True)
@of_each_change
def test_a_planted_change_is_noticed(change, copy):
    path = copy / change.path
    source = path.read_text()
    path.write_text(change.source(copy))
    try:
        code, printed = run_tests(copy, change.test)
    finally:
        path.write_text(source)
    # Not an error of its setup, which has the same code.
    assert code == pytest.ExitCode.TESTS_FAILED and f"FAILED {change.test}" in printed, printed
