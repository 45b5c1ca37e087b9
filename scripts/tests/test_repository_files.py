"""What GitHub and pre-commit read: the forms of issues, and the hooks."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.stack import places

pytestmark = pytest.mark.boots("the hooks of pre-commit")

HOOKS = yaml.safe_load((places.PROJECT / ".pre-commit-config.yaml").read_text())["repos"]


def test_the_forms_are_valid_by_githubs_schema():
    forms = sorted((places.PROJECT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [form.name for form in forms] == ["bug.yml", "change.yml"]
    program = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [program, "--builtin-schema", "vendor.github-issue-forms", *map(str, forms)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_hooks_pass_a_clean_file_and_find_what_they_are_for(tmp_path: Path):
    assert [repo["repo"] for repo in HOOKS] == ["local"]
    hooks = {hook["id"]: hook for hook in HOOKS[0]["hooks"]}
    clean = "scripts/tests/test_repository_files.py"
    assert [name for name, hook in hooks.items() if _run(hook, clean) != 0] == []
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
