"""The npm packages that `scripts/npm` pins: scripts that the shop serves, and what compiles clients."""

import fcntl
import hashlib
import shutil
from pathlib import Path

from scripts.stack import children, places, system_packages

PINS = places.PROJECT / "scripts" / "npm"
FOLDER = places.PROJECT / ".venv" / "npm"


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
        command = [system_packages.program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        children.printed(children.run(command, within_seconds=300, folder=FOLDER))
        stamp.write_text(digest)
    return FOLDER
