"""A process whose wall clock can be moved while it runs, by Debian's libfaketime. No other clock is changed.

`python -m scripts.stack.programs.faketime MODULE ...` runs the module in the environment of
`environment(...)`. It is needed because clock_nanosleep() of libfaketime 0.9.10, Debian 12's, takes the
monotonic instant that time.sleep() waits for to be one of the wall clock, and fails.
"""

import runpy
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

from scripts.stack import SetupError, places, system_packages


def require() -> None:
    """Raises SetupError where the library is missing."""
    if not system_packages.FAKETIME.exists():
        line = system_packages.line_to_install(["libfaketime"])
        raise SetupError(f"{system_packages.FAKETIME} is missing; run this first: {line}")


def environment(offset_file: Path) -> dict[str, str]:
    """What a process needs in its environment; the file must hold an offset before the process starts."""
    return {
        "LD_PRELOAD": str(system_packages.FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset_file),
        # Seconds: a change of the file takes effect after so long at most.
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # The times of files are no clock of the process.
        "NO_FAKE_STAT": "1",
    }


def set_offset(offset_file: Path, seconds: int) -> None:
    """Have the processes with this file see a wall clock so far ahead, from within a second on."""
    places.write_whole(offset_file, f"{seconds:+d}\n")


def command(python_command: Sequence[str]) -> list[str]:
    """The same `python -m MODULE ...`, run by this module."""
    python, _, *module_and_arguments = python_command
    return [python, "-m", "scripts.stack.programs.faketime", *module_and_arguments]


def remove_shared_memory(pid: int) -> None:
    """Remove what the library of a killed process has left under /dev/shm."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        Path("/dev/shm", name).unlink(missing_ok=True)  # noqa: S108 - faketime puts them there


def sleep(seconds: float | SupportsIndex, /) -> None:
    """time.sleep(), which waits by select() rather than by clock_nanosleep()."""
    if float(seconds) < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], float(seconds))


if __name__ == "__main__":
    time.sleep = sleep
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
