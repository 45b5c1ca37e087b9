"""Patches of the shop's code in a campaign's processes, and sleeping under a clock that is moved."""

import sys

import pytest

from lab.chaos.campaigns import patches
from scripts.tests import programs


@pytest.mark.boots("Python processes that are patched")
def test_every_patch_changes_what_is_there():
    modules = {patch.module for patched in patches.BY_NAME.values() for patch in patched}
    code = f"import django; django.setup()\nimport {', '.join(sorted(modules))}"
    settings = {"DJANGO_SETTINGS_MODULE": "shop.settings"} | patches.settings(*patches.BY_NAME)
    assert programs.run([sys.executable, "-c", code], **settings).strip() == ""
