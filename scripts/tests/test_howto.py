"""The how-to guides that change code: each is carried out in a copy of the project, and its tests are run."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from django.db import connection

from scripts import clients
from scripts.stack import places
from scripts.tests import documented, programs

pytestmark = pytest.mark.boots("ruff and pytest in a copy of the project")

GUIDES = ("add-a-strategy", "add-a-gateway", "add-a-partner", "add-a-saga-step")
SECONDS = 240
TESTS = re.compile(r'^make test ARGS="(.+)"$', re.MULTILINE)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_that_is_followed_leads_to_code_that_passes_its_tests(guide, tmp_path):
    copy = copy_project(tmp_path)
    blocks = documented.blocks(documented.page(f"howto/{guide}.md"))
    for block in blocks:
        if block.title:
            documented.write_or_edit(copy, block)
    [arguments] = [
        found[1] for block in blocks if block.language == "sh" for found in TESTS.finditer(block.text)
    ]

    assert_lint_is_clean(copy, [block.title for block in blocks if block.title.endswith(".py")])
    assert_tests_pass(copy, arguments)


def copy_project(folder: Path) -> Path:
    """The project's tracked files, as they are now, and the generated client, in a new folder."""
    copy = folder / "project"
    listed = programs.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    for name in filter(None, listed.split("\0")):
        source, target = places.PROJECT / name, copy / name
        if source.is_file() and not name.startswith(("docs/lab/", "docs/adr/")):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    shutil.copytree(clients.PYTHON, copy / clients.PYTHON.relative_to(places.PROJECT))
    return copy


def assert_lint_is_clean(copy: Path, files: list[str]) -> None:
    for words in (["check"], ["format", "--check"]):
        programs.run([sys.executable, "-m", "ruff", *words, *files], copy)


def assert_tests_pass(copy: Path, arguments: str) -> None:
    """Run what `make test ARGS=…` runs, on this process's throwaway servers and its database."""
    words = ["-m", "pytest", "-p", "no:cacheprovider", "--reuse-db", *shlex.split(arguments)]
    name = connection.settings_dict["NAME"]
    ran = programs.run([sys.executable, *words], copy, seconds=SECONDS, TEST_DATABASE_NAME=name)
    passed = re.search(r"(\d+) passed", ran)
    assert passed and int(passed[1]) > 0, ran
