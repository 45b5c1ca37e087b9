"""Other programs in tests."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scripts.stack import places


def end(
    command: Sequence[str], folder: Path = places.PROJECT, *, seconds=120, **settings: str
) -> "subprocess.CompletedProcess[str]":
    """How the program ends, and what it prints; `settings` are environment variables."""
    # A process of its own, not one of this run's workers.
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        command,
        cwd=folder,
        env=outer | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def run(command: Sequence[str], folder: Path = places.PROJECT, *, seconds=120, **settings: str) -> str:
    """What the program prints. Fails with all of it if it fails."""
    ran = end(command, folder, seconds=seconds, **settings)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-8_000:]
    return ran.stdout


def run_lines(lines: str, folder: Path, **settings: str) -> str:
    """The same for shell lines, each of which has to succeed."""
    return run(["sh", "-euc", lines], folder, **settings)
