"""The how-to guides that change code: each is carried out in a copy of the project, and its tests are run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from scripts import clients
from scripts.stack import places
from scripts.tests import documented

pytestmark = pytest.mark.boots("ruff and pytest in a copy of the project")

GUIDES = ("add-a-strategy", "add-a-gateway", "add-a-partner", "add-a-saga-step")
SECONDS = 240
TESTS = re.compile(r'^make test ARGS="(.+)"$', re.MULTILINE)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_that_is_followed_leads_to_code_that_passes_its_tests(guide: str, tmp_path: Path) -> None:
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
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=places.PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = places.PROJECT / name, copy / name
        if source.is_file() and not name.startswith(("docs/lab/", "docs/adr/")):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    shutil.copytree(clients.PYTHON, copy / clients.PYTHON.relative_to(places.PROJECT))
    return copy


def assert_lint_is_clean(copy: Path, files: list[str]) -> None:
    for words in (["check"], ["format", "--check"]):
        run_in(copy, [sys.executable, "-m", "ruff", *words, *files])


def assert_tests_pass(copy: Path, arguments: str) -> None:
    """Run what `make test ARGS=…` runs, on this process's throwaway servers and its database."""
    words = ["-m", "pytest", "-p", "no:cacheprovider", "--reuse-db", *shlex.split(arguments)]
    ran = run_in(copy, [sys.executable, *words], TEST_DATABASE_NAME=connection.settings_dict["NAME"])
    passed = re.search(r"(\d+) passed", ran)
    assert passed and int(passed[1]) > 0, ran


def run_in(copy: Path, command: list[str], **settings: str) -> str:
    """The output of a command in the copy, which has to succeed."""
    # A process of its own, not one of this run's workers.
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(
        command,
        cwd=copy,
        env=outer | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    output = ran.stdout + ran.stderr
    assert ran.returncode == 0, output[-8_000:]
    return output
