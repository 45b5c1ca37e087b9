"""A wall clock that is moved while its process runs, and all that must not move with it."""

import os
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

import pytest

from scripts.stack import SetupError, children
from scripts.stack.programs import faketime
from scripts.tests.simulator import wait_until

CLOSE_SECONDS = 5
"""How far apart two looks at one clock may be on a busy machine."""


@pytest.fixture
def offset_file(tmp_path: Path) -> Path:
    return tmp_path / "offset"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def printer(tmp_path: Path, offset_file: Path, log: Path) -> Iterator[Popen[bytes]]:
    """A process that prints its clocks, started with the right time."""
    faketime.set_offset(offset_file, 0)
    command = faketime.command([sys.executable, "-m", "scripts.tests.clock_printer", str(tmp_path / "file")])
    environment = {**os.environ, **faketime.environment(offset_file)}
    child = children.start(command, log=log, environment=environment)
    yield child
    child.kill()
    child.wait()
    faketime.remove_shared_memory(child.pid)
    assert not [path for path in Path("/dev/shm").iterdir() if path.name.endswith(f"_{child.pid}")]


class Ahead(NamedTuple):
    """How far the clocks of the process were ahead of ours when we looked, and when the process looked."""

    wall: float
    monotonic: float
    boot_time: float
    file_time: float
    printed_at: float


def seen(log: Path) -> list[Ahead]:
    whole_lines = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    now, boot_time, our_time = time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
    rows = [[float(word) for word in line.split()] for line in whole_lines]
    return [
        Ahead(wall - our_time, monotonic - now, boot - boot_time, file_time - our_time, monotonic)
        for wall, monotonic, boot, file_time in rows
    ]


@pytest.mark.boots("a process with a clock of its own")
def test_the_wall_clock_jumps_and_no_other(printer: Popen[bytes], offset_file: Path, log: Path) -> None:
    wait_until(lambda: len(seen(log)) > 3)
    assert all(abs(ahead.wall) < CLOSE_SECONDS for ahead in seen(log))
    faketime.set_offset(offset_file, 300)
    wait_until(lambda: seen(log)[-1].wall > 200)
    ahead = seen(log)[-1]
    assert 300 - CLOSE_SECONDS < ahead.wall <= 300
    for others in (ahead.monotonic, ahead.boot_time, ahead.file_time):
        assert -CLOSE_SECONDS < others <= 0


@pytest.mark.boots("a process with a clock of its own")
def test_sleeping_takes_as_long_as_before(printer: Popen[bytes], offset_file: Path, log: Path) -> None:
    wait_until(lambda: len(seen(log)) > 1)
    faketime.set_offset(offset_file, 300)
    wait_until(lambda: seen(log)[-1].wall > 200)
    lines = len(seen(log))
    wait_until(lambda: len(seen(log)) >= lines + 10)
    instants = [ahead.printed_at for ahead in seen(log)[lines : lines + 10]]
    assert all(0.1 <= later - sooner < CLOSE_SECONDS for sooner, later in pairwise(instants))


def test_a_missing_library_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faketime, "LIBRARY", tmp_path / "absent.so")
    with pytest.raises(SetupError, match=r"sudo apt-get install -y libfaketime$"):
        faketime.require()
