"""One runner at a time for a state folder: a lock that goes with its process, however that ends."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import IO

from scripts.stack import SetupError
from scripts.stack.instance import Instance

STOPPING = "stopping"
PATIENCE_SECONDS = 25
"""Longer than stopping takes."""
DOUBT_SECONDS = 1
"""A runner whose make was killed hears of it at once, and says that it is stopping a moment later."""


@contextlib.contextmanager
def held(instance: Instance) -> Iterator[None]:
    """Hold the state. Waits for a runner that is stopping; raises SetupError when one means to go on."""
    with (instance.run / "lock").open("a+") as lock:
        _take(lock)
        _write(lock, f"process {os.getpid()}, port {instance.port}")
        yield


def announce_stop(instance: Instance) -> None:
    """Tell a runner that wants the state that it will be free soon."""
    (instance.run / "lock").write_text(STOPPING)


def _take(lock: IO[str]) -> None:
    started = time.monotonic()
    while not _try_to_take(lock):
        lock.seek(0)
        holder = lock.read().strip() or "starting just now"
        waited = time.monotonic() - started
        if waited > (PATIENCE_SECONDS if holder == STOPPING else DOUBT_SECONDS):
            raise SetupError(
                f"make run is running already ({holder}): stop it first, or use another folder with VAR=…"
            )
        time.sleep(0.1)


def _try_to_take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(lock: IO[str], text: str) -> None:
    lock.truncate(0)
    lock.write(text)
    lock.flush()
