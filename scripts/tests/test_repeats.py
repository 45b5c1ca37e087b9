"""Which tests have a second attempt, and that a run names those that needed it."""

import os
import subprocess
import sys
from pathlib import Path

from scripts.stack import places

FAILS_ONCE = """
from pathlib import Path

def test_first_attempt():
    mark = Path(__file__).with_suffix(".mark")
    if not mark.exists():
        mark.touch()
        assert False
"""


def run(root: Path, module: str) -> "subprocess.CompletedProcess[str]":
    """A run of pytest on one module, whose test fails at the first attempt."""
    (root / module).parent.mkdir(parents=True)
    (root / module).write_text(FAILS_ONCE)
    chosen = ["-p", "no:django", "-p", "scripts.tests.repeats", "--import-mode", "importlib", "-rR"]
    return subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "--rootdir", root, "-c", os.devnull, *chosen, module],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(places.PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_whole_shops_test_that_fails_once_passes_and_is_named(tmp_path: Path):
    ran = run(tmp_path, "shop/tests/browser/test_page.py")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "RERUN shop/tests/browser/test_page.py::test_first_attempt" in ran.stdout


def test_a_test_of_an_app_that_fails_once_fails_the_run(tmp_path: Path):
    ran = run(tmp_path, "orders/tests/test_races.py")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "1 failed" in ran.stdout
