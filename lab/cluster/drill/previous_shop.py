"""The previous release's code, from the history of this clone."""

import subprocess
from pathlib import Path

from scripts.stack import places

FILE = places.PROJECT / "scripts" / "previous_release.txt"


def exported(folder: Path) -> Path:
    """The folder with that release's files. A shallow clone lacks them: git fetch --unshallow."""
    if not folder.exists():
        [commit] = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
        archive = subprocess.run(
            ["git", "archive", commit], cwd=places.PROJECT, stdout=subprocess.PIPE, check=True
        )
        # Moved to its place once it is whole: what a failure left is made again.
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        unfinished.mkdir(exist_ok=True)
        subprocess.run(["tar", "-x", "-C", str(unfinished)], input=archive.stdout, check=True)
        unfinished.rename(folder)
    return folder
