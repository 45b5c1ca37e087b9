"""Deletes uploads of stock that were never confirmed from the machine's folder for temporary files."""

import tempfile
from pathlib import Path

from structlog import get_logger

from shop import clock

log = get_logger(__name__)
PREFIX = "firstcome-delivery-"
KEPT_SECONDS = 3_600
"""An operator who confirms a preview later than this has to upload the file again."""


def clear() -> int:
    """Delete the uploads in this machine's folder that have not been confirmed in time. Returns how many."""
    deadline = clock.now().timestamp() - KEPT_SECONDS
    gone = [path for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if _is_older(path, deadline)]
    for path in gone:
        path.unlink(missing_ok=True)
        log.info("an upload that was never confirmed is deleted", file=path.name)
    return len(gone)


def _is_older(path: Path, deadline: float) -> bool:
    try:
        return path.lstat().st_mtime < deadline
    except FileNotFoundError:  # confirmed meanwhile
        return False
