"""Processes are known by id and start, by group, and by a mark: never by name."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack import process_identity

LEADER = """
import subprocess, sys, os, signal
from pathlib import Path
from scripts.stack import process_identity
os.setpgrp()
process_identity.write(Path(sys.argv[1]) / "run", "web")
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], env=dict(os.environ))
print(child.pid, flush=True)
signal.pause()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.fixture
def family(home: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that wrote its identity, and its child."""
    environment = os.environ | {process_identity.MARK: str(home)}
    command = [sys.executable, "-c", LEADER, str(home)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        yield leader, child
        process_identity.kill({leader.pid, child})


def test_a_process_and_its_children_are_found(home: Path, family: tuple[subprocess.Popen[str], int]):
    leader, child = family
    assert process_identity.of_state(home) == {leader.pid, child}
    assert int((home / "run" / "web.pid").read_text()) == leader.pid


def test_orphans_of_a_killed_process_are_found(home: Path, family: tuple[subprocess.Popen[str], int]):
    leader, child = family
    leader.kill()
    leader.wait()
    assert process_identity.of_state(home) == {child}
    assert process_identity.group_of(home / "run", "web") == {child}


def test_another_state_folder_has_nothing_to_do_with_them(
    tmp_path: Path, home: Path, family: tuple[subprocess.Popen[str], int]
):
    other = tmp_path / "other"
    (other / "run").mkdir(parents=True)
    assert process_identity.of_state(other) == set()


def test_an_id_that_was_assigned_again_is_another_process(home: Path):
    (home / "run" / "web.pid").write_text(f"{os.getpid()}\n")
    (home / "run" / "web.started").write_text(f"{os.getpid()} 12345 some-other-boot\n")
    assert process_identity.of_state(home) == set()
    assert process_identity.group_of(home / "run", "web") == set()


def test_killing_a_process_that_is_gone_is_fine():
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    process_identity.kill({gone.pid}, signal.SIGTERM)
    assert gone.returncode == 0


def test_what_was_written_can_be_forgotten(home: Path):
    process_identity.write(home / "run", "beat")
    process_identity.forget(home / "run")
    assert list((home / "run").iterdir()) == []
