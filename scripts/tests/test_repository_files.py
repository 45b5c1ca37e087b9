"""What GitHub and pre-commit read: the forms of issues, and the hooks."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.stack import places

FORMS = sorted((places.PROJECT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
HOOKS = yaml.safe_load((places.PROJECT / ".pre-commit-config.yaml").read_text())["repos"]


def test_there_is_a_form_for_bugs_and_one_for_changes():
    assert [form.name for form in FORMS] == ["bug.yml", "change.yml"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_is_valid_by_githubs_schema(form: Path):
    command = [
        str(Path(sys.executable).with_name("check-jsonschema")),
        "--builtin-schema",
        "vendor.github-issue-forms",
    ]
    ran = subprocess.run([*command, str(form)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_all_hooks_are_local():
    assert [repo["repo"] for repo in HOOKS] == ["local"]


@pytest.mark.parametrize("hook", HOOKS[0]["hooks"], ids=lambda hook: hook["id"])
def test_a_hook_passes_a_clean_file(hook: dict[str, str]):
    assert _run(hook, "scripts/tests/test_repository_files.py") == 0


def test_the_hooks_find_what_they_are_for(tmp_path: Path):
    hooks = {hook["id"]: hook for hook in HOOKS[0]["hooks"]}
    assert set(hooks) == {"ruff-format", "ruff-check"}
    (tmp_path / "unused.py").write_text("import os\n")
    assert _run(hooks["ruff-check"], str(tmp_path / "unused.py")) == 1
    # pre-commit fails a hook that changes a file.
    (tmp_path / "spaces.py").write_text("x = {  'a':1}\n")
    _run(hooks["ruff-format"], str(tmp_path / "spaces.py"))
    assert (tmp_path / "spaces.py").read_text() == 'x = {"a": 1}\n'


def _run(hook: dict[str, str], name: str) -> int:
    words = shlex.split(hook["entry"])
    assert words[0] == ".venv/bin/python"
    command = [sys.executable, *words[1:], name]
    return subprocess.run(command, cwd=places.PROJECT, capture_output=True, check=False).returncode
