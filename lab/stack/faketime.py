"""A process whose wall clock can be moved while it runs, by Debian's libfaketime. No other clock is changed.

`python -m lab.stack.faketime MODULE …` runs the module in the environment of `environment(…)`. It is needed
because clock_nanosleep() of libfaketime 0.9.10, Debian 12's, takes the monotonic instant that time.sleep()
waits for to be one of the wall clock, and fails. `--become NAME COMMAND…` is how `make run` starts its
processes with the settings of `lab.chaos.campaigns.clocks`.
"""

import os
import runpy
import select
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import SupportsIndex

from scripts.stack import Settings, SetupError, Words, places, system_packages

# `worker=late redis=all`: the wall clocks of these processes are those of the files `run/late.offset` and
# `run/all.offset`, which have to be there.
CLOCKS = "FAKE_CLOCKS"


def require() -> None:
    if not system_packages.FAKETIME.exists():
        line = system_packages.line_to_install(["libfaketime"])
        raise SetupError(f"{system_packages.FAKETIME} is missing; run this first: {line}")


def environment(folder: Path, clock: str) -> Settings:
    """What a process needs in its environment; the clock must have its file in that folder before."""
    return {
        "LD_PRELOAD": str(system_packages.FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": f"{folder}/{clock}.offset",
        # Seconds: a change of the file takes effect after so long at most.
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # The times of files are no clock of the process.
        "NO_FAKE_STAT": "1",
    }


def command(python_command: Words) -> list[str]:
    """The same `python -m MODULE ...`, run by this module."""
    python, _, *module_and_arguments = python_command
    return [python, "-m", "lab.stack.faketime", *module_and_arguments]


def remove_shared_memory() -> None:
    """Remove what the library of killed processes has left under /dev/shm."""
    for path in Path("/dev/shm").glob("*faketime_s[he]m_*"):  # noqa: S108 - faketime puts it there
        if not Path("/proc", path.name.rpartition("_")[2]).exists():
            with suppress(OSError):  # it may be another user's
                path.unlink()


def sleep(seconds: float | SupportsIndex, /) -> None:
    if float(seconds) < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], float(seconds))


def become(name: str, line: Words) -> None:
    """Become that command, with the wall clock that `FAKE_CLOCKS` has for the process of this name."""
    clock = dict(word.split("=") for word in os.environ[CLOCKS].split()).get(name)
    if clock:
        os.environ.update(environment(places.state() / "run", clock))
    os.execv(line[0], command(line) if clock and line[0] == sys.executable else [*line])


if __name__ == "__main__":
    if sys.argv[1] == "--become":
        become(sys.argv[2], sys.argv[3:])
    time.sleep = sleep
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
