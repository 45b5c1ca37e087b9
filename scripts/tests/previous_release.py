"""The release before this one, for tests: its code and its migrations."""

import os
from pathlib import Path

import pytest

from lab import stage
from scripts.stack import SetupError, children


def code(folder: Path) -> Path:
    """The folder with its files. Without its commit in this checkout the test is skipped; in CI it fails.

    A shallow checkout, which is known to lack it, skips it there too.
    """
    try:
        return stage.code_of(stage.PREVIOUS, folder)
    except SetupError as error:
        is_shallow = children.run(["git", "rev-parse", "--is-shallow-repository"], within_seconds=60)
        give_up = pytest.fail if os.environ.get("CI") and is_shallow.stdout != "true\n" else pytest.skip
        give_up(f"the previous release takes a clone with its history (`git fetch --unshallow`): {error}")


def migrations(folder: Path) -> set[tuple[str, str]]:
    """Its migrations, by app and name."""
    found = code(folder).glob("*/migrations/[0-9]*.py")
    return {(path.parts[-3], path.stem) for path in found}
