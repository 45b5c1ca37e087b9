"""`make manage`: the command's own output and exit code, and a line when there is no database to manage."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stack import instance as instances, places

pytestmark = pytest.mark.boots("`make manage`")

OF_THE_TESTS = {"DATABASE_URL", "REDIS_URL", "BROKER_URL", "SECRET_KEY", "GATEWAY_URL"}


def manage(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS}
    return subprocess.run(
        [sys.executable, "-m", "scripts.manage", *words],
        cwd=places.PROJECT,
        env=environment | {"FIRSTCOME_VAR": str(home)},
        capture_output=True,
        text=True,
    )


def test_a_mariadb_that_is_not_running_is_reported(tmp_path: Path):
    instances.remember(instances.choose(home=tmp_path, port="8000", database="mariadb"))
    ran = manage(tmp_path, "audit", "--json")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "start it with `make run DB=mariadb`" in ran.stderr


def test_nothing_but_the_command_prints(tmp_path: Path):
    (tmp_path / "sqlite").mkdir()
    (tmp_path / "sqlite" / "firstcome.sqlite3").touch()
    ran = manage(
        tmp_path, "--port", "", "--db", "", "shell", "-v0", "-c", "import sys; print('hello'); sys.exit(3)"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "hello\n", "")
