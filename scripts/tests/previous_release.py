"""The release before this one: its commit, its migrations, and its code as running processes."""

import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from scripts.stack import places

FILE = places.PROJECT / "scripts" / "previous_release.txt"
GIT_SECONDS = 60


def commit() -> str:
    """The hash that the tracked file names."""
    [sha] = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    return sha


def export(folder: Path, *, project: Path = places.PROJECT) -> Path:
    with zipfile.ZipFile(io.BytesIO(_git("archive", "--format=zip", commit(), project=project))) as archive:
        archive.extractall(folder)
    return folder


def migrations(*, project: Path = places.PROJECT) -> set[tuple[str, str]]:
    """That commit's migrations, by app and name."""
    paths = _git("ls-tree", "-r", "--name-only", commit(), project=project).decode().splitlines()
    found = [Path(path) for path in paths if Path(path).match("*/migrations/[0-9]*.py")]
    return {(path.parts[0], path.stem) for path in found}


def _git(*words: str, project: Path) -> bytes:
    """What git prints. A checkout without the commit skips the test; in CI it fails, unless it is shallow."""
    ran = subprocess.run(["git", *words], cwd=project, capture_output=True, timeout=GIT_SECONDS, check=False)
    if ran.returncode != 0:
        reason = (
            f"{commit()}, the commit of the previous release ({FILE.name}), is missing here: it takes a "
            "clone with its history, which `git fetch --unshallow` makes of a shallow one; "
            f"git says: {ran.stderr.decode().strip()}"
        )
        if os.environ.get("CI") and not _is_shallow(project):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return ran.stdout


def _is_shallow(project: Path) -> bool:
    asked = ["git", "rev-parse", "--is-shallow-repository"]
    ran = subprocess.run(asked, cwd=project, capture_output=True, timeout=GIT_SECONDS, check=False)
    return ran.stdout.strip() == b"true"
