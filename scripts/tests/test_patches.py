"""Patches of the shop's code in a campaign's processes, and sleeping under a clock that is moved."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.chaos.campaigns import patches
from scripts.stack import places
from scripts.stack.programs import faketime

SLEEP = "import time; time.sleep(0.2)"


def run(code: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", code]
    ran = subprocess.run(
        command, cwd=places.PROJECT, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


@pytest.mark.boots("Python processes that are patched")
def test_every_patch_changes_what_is_there() -> None:
    modules = {module for patched in patches.BY_NAME.values() for module in patched}
    code = f"import django; django.setup()\nimport {', '.join(sorted(modules))}"
    assert run(code, {"DJANGO_SETTINGS_MODULE": "shop.settings"} | patches.settings(*patches.BY_NAME)) == ""


@pytest.mark.boots("Python processes that are patched")
def test_a_process_that_was_started_by_another_sleeps_though_its_clock_is_moved(tmp_path: Path) -> None:
    faketime.require()
    offset_file = tmp_path / "offset"
    faketime.set_offset(offset_file, 86_400)
    began = time.monotonic()
    run(SLEEP, faketime.environment(offset_file) | patches.settings("frequently-measured-clock"))
    assert time.monotonic() - began >= 0.2
