"""What the stack held at most while it was measured: memory of its processes, connections to its database."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts import database, places, process_identity
from scripts.bench.measured import Measured
from scripts.instance import Instance

LOOK_SECONDS = 0.05
COUNTED = "SHOW GLOBAL STATUS WHERE Variable_name = 'Max_used_connections'"
ALLOWED = "SHOW GLOBAL VARIABLES WHERE Variable_name = 'max_connections'"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that ended: what it wrote, how long it took, and the most memory it held."""

    code: int
    out: str
    error: str
    seconds: float
    peak_mib: float


def web_and_database(instance: Instance) -> Measured:
    """Since the stack was started: nothing that was measured restarts a process."""
    pids = process_identity.group_of(instance.run, "web")
    peak = max(peak_mib(pids).values(), default=0)
    used, most = (int(database.rows(instance, asked)[0][1]) for asked in (COUNTED, ALLOWED))
    return Measured(
        row="memory",
        figures={
            "peak_mib": peak,
            "connections_used": used,
            "connections_allowed": most,
            "connections_share": used / most,
        },
        says=f"{used} of {most} connections to the database",
    )


def forget_peaks(pids: Iterable[int]) -> None:
    """Have the kernel count the most memory of each of these processes from now on, where it allows that."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def shared_out_kib(pids: Iterable[int]) -> float:
    """The memory of these processes; a page that several of them hold counts once."""
    return sum(_shared_out_kib(pid) for pid in pids)


def peak_mib(pids: Iterable[int]) -> Mapping[int, float]:
    """The most memory that each of these processes has held, as far as they still live."""
    found = {pid: _peak_mib(pid) for pid in pids}
    return {pid: peak for pid, peak in found.items() if peak}


def run(command: Sequence[str], environment: Mapping[str, str], *, within_seconds: float) -> Ran:
    """Run the command to its end, and look at its memory meanwhile. Raises TimeoutExpired."""
    began_at = time.monotonic()
    child = subprocess.Popen(
        command,
        cwd=places.PROJECT,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peaks, ended = [0.0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(child.pid, ended, peaks), daemon=True)
    watcher.start()
    try:
        out, error = child.communicate(timeout=within_seconds)
    finally:
        ended.set()
        if child.poll() is None:
            child.kill()
            child.wait()
        watcher.join()
    seconds = time.monotonic() - began_at
    return Ran(code=child.returncode, out=out, error=error, seconds=seconds, peak_mib=max(peaks))


def _watch(pid: int, ended: threading.Event, peaks: list[float]) -> None:
    while not ended.wait(LOOK_SECONDS):
        peaks.append(_peak_mib(pid))


def _peak_mib(pid: int) -> float:
    """The kernel's own mark of the most that was resident; 0 where the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    marks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(marks[0]) / 1024 if marks else 0


def _shared_out_kib(pid: int) -> float:
    """The process's share of what it holds (PSS); 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(float(line.split()[1]) for line in lines if line.startswith("Pss:"))
