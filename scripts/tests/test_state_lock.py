"""The state folder belongs to one runner; a second one waits for one that stops, and for no other."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack import instance as instances, places
from scripts.stack.instance import Instance

pytestmark = pytest.mark.boots("a process that holds the state")

HOLDER = """
import sys
from pathlib import Path
from scripts.stack import instance as instances
instance = instances.choose(home=Path(sys.argv[1]), port="8123", database="")
with instances.held(instance):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    (tmp_path / "run").mkdir()
    return instances.choose(home=tmp_path, port="8123", database="")


@pytest.fixture
def holder(instance: Instance) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the state until a line is written to it."""
    command = [sys.executable, "-c", HOLDER, str(instance.home)]
    with subprocess.Popen(
        command, cwd=places.PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_killed_runner_holds_nothing(instance, holder):
    holder.kill()
    holder.wait()
    with instances.held(instance):
        assert str(os.getpid()) in (instance.run / "lock").read_text()


def test_a_runner_that_is_stopping_is_waited_for(instance, holder):
    (instance.run / "lock").write_text(instances.STOPPING)
    end = subprocess.Popen(["sh", "-c", f"sleep {instances.DOUBT_SECONDS + 1}; kill -9 {holder.pid}"])
    with end, instances.held(instance):
        assert holder.wait(timeout=10) == -9
