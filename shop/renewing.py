"""Leases that are renewed while they are needed: one thread a process, for all of them, once a second.

A process that is paused renews nothing, and one that was killed neither: that is what a lease is for.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from structlog import get_logger

log = get_logger(__name__)
EVERY_SECONDS = 1.0

_mutex = threading.Lock()
_kept: dict[object, Callable[[], object]] = {}
_thread: threading.Thread | None = None


@contextmanager
def kept_alive(renew: Callable[[], object]) -> Iterator[None]:
    """Call `renew` once a second while the block runs; it answers quickly, and may be called once more."""
    entry = object()
    _start()
    with _mutex:
        _kept[entry] = renew
    try:
        yield
    finally:
        with _mutex:
            del _kept[entry]


def _start() -> None:
    """Start the process's thread, once; a process that was forked has none yet."""
    global _thread
    if _thread is not None and _thread.is_alive():
        return
    with _mutex:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_renew, name="renewing", daemon=True)
            _thread.start()


def _renew() -> None:
    while True:
        time.sleep(EVERY_SECONDS)
        with _mutex:
            due = list(_kept.values())
        for renew in due:
            try:
                renew()
            except Exception:
                # The others' leases must not end with this one.
                log.exception("a lease could not be renewed")
