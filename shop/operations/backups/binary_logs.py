"""Copies of a server's binary logs: which of them a restore needs, and up to when they reach."""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shop.operations.backups.dumping import Backup
from shop.operations.backups.programs import BackupFailed

_MAGIC = b"\xfebin"
_HEADER = struct.Struct("<IBIIIH")
"""Of an event, in MariaDB's files and in MySQL's: seconds, type, server, length, next position, flags."""


def files_since(backup: Backup, folder: Path) -> list[Path]:
    """The folder's logs from the backup's position on, in order and without a gap. Raises BackupFailed."""
    if not backup.log_file:
        because = backup.no_log_because or "The server keeps no binary log"
        raise BackupFailed(f"The backup has no position in a binary log. {because}.")
    stem, _, first = backup.log_file.rpartition(".")
    found = sorted(path for path in folder.glob(f"{stem}.*") if path.suffix[1:].isdecimal())
    files = [path for path in found if int(path.suffix[1:]) >= int(first)]
    numbers = [int(path.suffix[1:]) for path in files]
    if numbers != list(range(int(first), int(first) + len(files))) or not files:
        there = ", ".join(path.name for path in files) or "none"
        raise BackupFailed(f"{folder} has to have every log from {backup.log_file} on; there are: {there}.")
    return files


def reach(files: Sequence[Path]) -> datetime:
    """The second of the last event that has one in the last file; the server begins each file with one.

    Not the latest second: a session that sets its time writes seconds of the future.

    Raises BackupFailed where that file is no binary log.
    """
    last = 0
    with files[-1].open("rb") as log:
        if log.read(len(_MAGIC)) != _MAGIC:
            raise BackupFailed(f"{files[-1]} is no binary log, or an encrypted one: copy it again.")
        while len(head := log.read(_HEADER.size)) == _HEADER.size:
            seconds, _, _, length, _, _ = _HEADER.unpack(head)
            if length < _HEADER.size:
                break
            last = seconds or last
            log.seek(length - _HEADER.size, 1)
    return datetime.fromtimestamp(last, UTC)
