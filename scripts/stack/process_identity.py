"""Which processes are an instance's: those with its mark in their environment, for ids are assigned again."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from scripts.stack import places

MARK = "FIRSTCOME_RUN"
"""In the environment of everything that supervisor starts: the state folder that it belongs to."""


def write(folder: Path, name: str) -> None:
    """Record this process, which may become another program, as the process of that name."""
    places.write_whole(folder / f"{name}.pid", f"{os.getpid()}\n")


def of_state(home: Path) -> set[int]:
    """The living processes of the instance with its state there, children included."""
    return {pid for path in Path("/proc").glob("[0-9]*") if _is_marked(pid := int(path.name), home)}


def leader_of(folder: Path, name: str) -> int | None:
    """The id of the process that was last written as `name`, if it is alive."""
    pid = _written(folder, name)
    return pid if _is_marked(pid, folder.parent) else None


def group_of(folder: Path, name: str) -> set[int]:
    """The living processes of the group that `name` led when it was last written, the leader included."""
    leader, found = _written(folder, name), set[int]()
    for pid in of_state(folder.parent):
        with contextlib.suppress(ProcessLookupError):
            found |= {pid} if os.getpgid(pid) == leader else set()
    return found


def kill(pids: set[int], number: int = signal.SIGKILL) -> None:
    """Send them the signal; those that are gone already need none."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextlib.contextmanager
def frozen(pids: set[int]) -> Iterator[None]:
    """They get no processor time inside the block."""
    kill(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        kill(pids, signal.SIGCONT)


def _written(folder: Path, name: str) -> int:
    try:
        return int((folder / f"{name}.pid").read_text())
    except (OSError, ValueError):
        return 0


def _is_marked(pid: int, home: Path) -> bool:
    # Of a process that is gone, a zombie or another user's, nothing can be read.
    with contextlib.suppress(OSError):
        return f"{MARK}={home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False
