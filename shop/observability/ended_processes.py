"""The metric files of web processes that have ended: counts are merged into one file, gauges removed.

prometheus_client keeps the files of every process that ever ran, up to a MiB each. The folder is in memory,
so processes that end again and again would fill it, and the next ones could not count.
"""

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import multiprocess
from prometheus_client.mmap_dict import MmapedDict
from structlog import get_logger

log = get_logger(__name__)
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MERGED = "ended"
"""In place of the process's id in a file's name."""
LOCK_SECONDS = 0.5
KINDS_KEPT = ("counter", "histogram")


def merge(pid: int | None = None) -> None:
    """Merge the counts of this process, and of all others that are not running, and remove their gauges.

    Does nothing while a scrape takes longer than `LOCK_SECONDS`: the next call makes up for it.
    """
    folder = Path(os.environ.get(FOLDER, ""))
    if FOLDER not in os.environ or not folder.is_dir():
        return
    with locked(folder, fcntl.LOCK_EX) as is_locked:
        if not is_locked:
            return
        for process in _recorded(folder):
            if process == pid or not _is_running(process):
                _remove_gauges(process, folder)
                _merge_counts(process, folder)


@contextmanager
def locked(folder: Path, mode: int) -> Iterator[bool]:
    """Lock the folder to merge (`LOCK_EX`) or to read (`LOCK_SH`); yields whether it was free in time."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(descriptor, mode)
    finally:
        os.close(descriptor)  # and with it the lock


def _lock(descriptor: int, mode: int) -> bool:
    give_up_at = time.monotonic() + LOCK_SECONDS
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            return True
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.01)


def _remove_gauges(process: int, folder: Path) -> None:
    with suppress(OSError):
        multiprocess.mark_process_dead(process, str(folder))


def _merge_counts(process: int, folder: Path) -> None:
    for kind in KINDS_KEPT:
        path = folder / f"{kind}_{process}.db"
        if not path.exists():
            continue
        try:
            _add(path, folder / f"{kind}_{MERGED}.db")
        except (OSError, RuntimeError, ValueError, struct.error):
            # It was killed as the file was begun or grew. A file that can't be read fails every scrape.
            log.exception("counts of an ended process are lost", pid=process, file=path.name)
        path.unlink()


def _add(path: Path, merged_path: Path) -> None:
    merged = MmapedDict(str(merged_path))
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
            merged.write_value(key, merged.read_value(key)[0] + value, 0.0)
    finally:
        merged.close()


def _recorded(folder: Path) -> set[int]:
    """The processes with files in the folder."""
    ids = (path.stem.rpartition("_")[2] for path in folder.glob("*.db"))
    return {int(found) for found in ids if found.isdecimal()}


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
