"""`make check` without its programs: a user who may not install them gets what the other checks say."""

import os
import subprocess
import sys

import pytest

from scripts.stack import places

pytestmark = pytest.mark.boots("`make check`")

CHECK = """
import sys
from scripts import check

def find_something():
    raise check.Failed("a line that is wrong")

found = {"found": find_something} if "found" in sys.argv else {}
sys.exit(check.run_all({"rules": check.check_rules, "layers": lambda: None, **found}))
"""


def checked(*words: str, ci: str) -> tuple[int, str]:
    """The exit status, and what is printed, where no program of Prometheus is found."""
    environment = os.environ | {"PATH": "", "CI": ci}
    ran = subprocess.run(
        [sys.executable, "-c", CHECK, *words],
        cwd=places.PROJECT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.stderr == ""
    return ran.returncode, ran.stdout


def test_what_another_check_finds_fails_everywhere() -> None:
    ended, printed = checked("found", ci="")

    assert ended == 1
    assert "FAILED  found\na line that is wrong" in printed and "SKIPPED rules" in printed
