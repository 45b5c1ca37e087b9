"""Uploads of stock between preview and confirmation, in the machine's folder for temporary files: bounded."""

import tempfile
from contextlib import suppress
from pathlib import Path

from structlog import get_logger

from shop import clock

log = get_logger(__name__)
PREFIX = "firstcome-delivery-"
KEPT_SECONDS = 3_600
"""An operator who confirms a preview later than this has to upload the file again."""
MOST_BYTES_OF_ACCOUNT = 10 * 2**20
"""Of an operator's unconfirmed uploads: the oldest make room for another. The folder may have 64 MiB."""


def make_room(owner: str, size: int) -> None:
    """Delete the owner's oldest uploads, so that one of this size stays within `MOST_BYTES_OF_ACCOUNT`."""
    paths = sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}{owner}.*"))  # ids are in order of time
    with suppress(FileNotFoundError):  # confirmed meanwhile
        while paths and size + sum(path.stat().st_size for path in paths) > MOST_BYTES_OF_ACCOUNT:
            paths.pop(0).unlink(missing_ok=True)


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
