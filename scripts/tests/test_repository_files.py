"""What GitHub reads: the forms of issues."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stack import places

pytestmark = pytest.mark.boots("check-jsonschema")


def test_the_forms_are_valid_by_githubs_schema():
    forms = sorted((places.PROJECT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [form.name for form in forms] == ["bug.yml", "change.yml"]
    program = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [program, "--builtin-schema", "vendor.github-issue-forms", *map(str, forms)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
