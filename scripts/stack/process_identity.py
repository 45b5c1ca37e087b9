"""Which process is which: its id and the moment it started, because the kernel assigns ids again."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from scripts.stack import places

MARK = "FIRSTCOME_RUN"
"""In the environment of everything that supervisor starts: the state folder that it belongs to."""
_STATE, _GROUP, _STARTED = 0, 2, 19  # of /proc/PID/stat, counted after the parenthesised name


def write(folder: Path, name: str) -> None:
    """Record this process, which may become another program, as the process of that name."""
    pid = os.getpid()
    places.write_whole(folder / f"{name}.pid", f"{pid}\n")
    places.write_whole(folder / f"{name}.started", f"{pid} {_stat(pid)[_STARTED]} {_boot()}\n")


def forget(folder: Path) -> None:
    """Remove what was written, once the processes are gone."""
    for path in [*folder.glob("*.pid"), *folder.glob("*.started")]:
        path.unlink(missing_ok=True)


def of_state(home: Path) -> set[int]:
    """The living processes of the instance with its state there, children included."""
    known = {leader_of(path.parent, path.stem) for path in (home / "run").glob("*.started")}
    return {pid for pid, group in _living() if known & {pid, group} or _is_marked(pid, home)}


def leader_of(folder: Path, name: str) -> int | None:
    """The id of the process that was last written as `name`, if that very process is alive."""
    try:
        pid, started, boot = (folder / f"{name}.started").read_text().split()
        is_same = _stat(int(pid))[_STARTED] == started and _boot() == boot
    except (OSError, ValueError, IndexError):
        return None
    return int(pid) if is_same else None


def group_of(folder: Path, name: str) -> set[int]:
    """The living processes of the group that `name` led when it was last written, the leader included."""
    try:
        leader = int((folder / f"{name}.pid").read_text())
    except (OSError, ValueError):
        return set()
    return {pid for pid, group in _living() if group == leader and _is_marked(pid, folder.parent)}


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


def _living() -> Iterator[tuple[int, int]]:
    """Each process of the machine that is not a zombie, and its process group."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = _stat(int(folder.name))
            if stat[_STATE] != "Z":
                yield int(folder.name), int(stat[_GROUP])


def _is_marked(pid: int, home: Path) -> bool:
    try:
        return f"{MARK}={home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    # The name comes in parentheses and may itself hold spaces and parentheses.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
