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


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_a_check_whose_program_is_missing_says_so_and_fails_in_ci_alone(ci: str, status: int) -> None:
    """It failed everywhere, so that a user without root never saw a check pass."""
    ended, printed = checked(ci=ci)

    assert ended == status
    assert "SKIPPED rules" in printed and "promtool" in printed
    assert "sudo apt-get install -y --no-install-recommends prometheus" in printed
    assert "ok      layers" in printed
    assert printed.endswith("not checked here: rules\n")


def test_what_another_check_finds_fails_everywhere() -> None:
    ended, printed = checked("found", ci="")

    assert ended == 1
    assert "FAILED  found\na line that is wrong" in printed and "SKIPPED rules" in printed
