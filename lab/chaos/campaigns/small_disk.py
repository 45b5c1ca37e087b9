"""A database server whose data lie on a small file system of their own, which a fault fills."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scripts.stack import SetupError
from scripts.stack.instance import Instance
from scripts.stack.system_packages import SEARCH_PATH

FILLER = "filler"
CHUNK = b"\0" * 2**20
PAUSE_SECONDS = 0.1


@contextmanager
def beside(instance: Instance, megabytes: int) -> Iterator[None]:
    """Inside the block the server's data folder is a file system of this size, if any. Raises SetupError."""
    if not megabytes:
        yield
        return
    server = instance.mariadb()
    server.prepare()
    made = server.data.with_name("data.made")
    server.data.rename(made)
    server.data.mkdir(mode=0o700)
    _system("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "firstcome", str(server.data))
    try:
        shutil.copytree(made, server.data, dirs_exist_ok=True)
        yield
    finally:
        _system("umount", "--lazy", str(server.data))


def _system(*words: str) -> None:
    program = shutil.which(words[0], path=SEARCH_PATH) or words[0]
    ran = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise SetupError(f"a file system for the database takes root: {ran.stderr.strip()}")


@contextmanager
def filled(_: str, instance: Instance) -> Iterator[None]:
    """Inside the block the server's file system is full; what becomes free meanwhile is filled as well."""
    filler, stop = instance.mariadb().data / FILLER, threading.Event()
    thread = threading.Thread(target=_keep_full, args=(filler, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        filler.unlink()


def _keep_full(filler: Path, stop: threading.Event) -> None:
    with filler.open("wb", buffering=0) as file:
        while not stop.wait(PAUSE_SECONDS):
            with suppress(OSError):  # no space is left
                while not stop.is_set():
                    file.write(CHUNK)
