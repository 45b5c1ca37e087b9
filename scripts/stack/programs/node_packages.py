"""The npm packages that `scripts/npm` pins: scripts that the shop serves, and what compiles clients in
tests."""

import fcntl
import hashlib
import shutil
from pathlib import Path

from scripts.stack import SetupError, children, places, system_packages

PINS = places.PROJECT / "scripts" / "npm"
FOLDER = places.PROJECT / ".venv" / "npm"
SECONDS = 300


def installed() -> Path:
    """The folder with `node_modules`, filled if it is not. Raises SetupError with what npm says."""
    digest = hashlib.sha256((PINS / "package-lock.json").read_bytes()).hexdigest()
    stamp = FOLDER / "installed"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == digest:
            return FOLDER
        stamp.unlink(missing_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PINS / name, FOLDER)
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error")
        command = [system_packages.program("npm"), "ci", *options]
        try:
            children.printed(children.run(command, within_seconds=SECONDS, folder=FOLDER))
        except SetupError as error:
            raise SetupError(f"npm can't install scripts/npm; is its registry reachable? {error}") from None
        stamp.write_text(digest)
    return FOLDER
