"""The release before this one: its commit, its migrations, and its code as running processes."""

import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from scripts.stack import places

FILE = places.PROJECT / "scripts" / "previous_release.txt"


def commit() -> str:
    """The hash that the tracked file names."""
    [sha] = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    return sha


def export(folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(_git("archive", "--format=zip", commit()))) as archive:
        archive.extractall(folder)
    return folder


def migrations() -> set[tuple[str, str]]:
    """That commit's migrations, by app and name."""
    paths = _git("ls-tree", "-r", "--name-only", commit()).decode().splitlines()
    found = [Path(path) for path in paths if Path(path).match("*/migrations/[0-9]*.py")]
    return {(path.parts[0], path.stem) for path in found}


def _git(*words: str) -> bytes:
    """What git prints. A checkout without the commit skips the test; in CI it fails, unless it is shallow."""
    ran = _end(*words)
    if ran.returncode != 0:
        reason = (
            f"{commit()}, the commit of the previous release ({FILE.name}), is missing here: it takes a "
            "clone with its history, which `git fetch --unshallow` makes of a shallow one; "
            f"git says: {ran.stderr.decode().strip()}"
        )
        if os.environ.get("CI") and _end("rev-parse", "--is-shallow-repository").stdout != b"true\n":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return ran.stdout


def _end(*words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", *words], cwd=places.PROJECT, capture_output=True, timeout=60, check=False)
