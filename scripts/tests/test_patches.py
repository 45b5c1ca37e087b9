"""Patches of the shop's code in a campaign's processes, and sleeping under a clock that is moved."""

import os
import subprocess
import sys

import pytest

from scripts.chaos.campaigns import patches
from scripts.stack import places


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
