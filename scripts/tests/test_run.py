"""`make run` and `make manage` when something is in the way: one line, an exit code, nothing started."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stack import instance as instances, places, ports, process_identity

pytestmark = [pytest.mark.boots("another process of the shop")]


OF_THE_TESTS = {"DATABASE_URL", "REDIS_URL", "BROKER_URL", "SECRET_KEY", "GATEWAY_URL"}


def run(module: str, home: Path, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS}
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=places.PROJECT,
        env=environment | {"FIRSTCOME_VAR": str(home)} | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )


def refused(home: Path, *words: str, **settings: str) -> str:
    """Run it, and return the only line that it says."""
    ran = run("scripts.run", home, *words, **settings)
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1, ran.stderr
    return ran.stderr


@pytest.mark.parametrize("offset", [0, instances.PORTS - 1])
def test_a_port_in_use_is_named(tmp_path, offset):
    port = ports.free(instances.PORTS)
    with socket.create_server((ports.HOST, port + offset)):
        assert f"port {port + offset} is in use" in refused(tmp_path, "--port", str(port))
    assert process_identity.of_state(tmp_path) == set()


def test_words_that_make_no_sense_are_reported(tmp_path):
    assert "PORT=eight is not a port" in refused(tmp_path, "--port", "eight")
    assert "DB=oracle is not a database" in refused(tmp_path, "--db", "oracle")
    assert "WEB_THREADS=lots is not a number" in refused(tmp_path, WEB_THREADS="lots")


def test_a_second_run_names_the_first(tmp_path):
    (tmp_path / "run").mkdir()
    with instances.held(instances.choose(home=tmp_path, port="8000", database="")):
        assert f"running already (process {os.getpid()}, port 8000)" in refused(tmp_path)


def test_a_mariadb_that_is_not_running_is_reported(tmp_path):
    instances.remember(instances.choose(home=tmp_path, port="8000", database="mariadb"))
    ran = run("scripts.manage", tmp_path, "audit", "--json")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "start it with `make run DB=mariadb`" in ran.stderr


def test_nothing_but_the_command_prints(tmp_path):
    (tmp_path / "sqlite").mkdir()
    (tmp_path / "sqlite" / "firstcome.sqlite3").touch()
    command = ("shell", "-v0", "-c", "import sys; print('hello'); sys.exit(3)")
    ran = run("scripts.manage", tmp_path, "--port", "", "--db", "", *command)
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "hello\n", "")
