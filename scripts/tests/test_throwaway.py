"""The throwaway servers that this very test runs on: durable, and for tests only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from scripts.stack import children, places


@pytest.mark.django_db
def test_the_database_keeps_what_it_commits_and_allows_what_races_need():
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@innodb_flush_log_at_trx_commit, @@skip_networking, @@max_connections >= 500")
        assert cursor.fetchone() == (1, 1, 1)


@pytest.mark.boots("pytest, a MariaDB, or children")
def test_pytest_refuses_servers_that_were_not_started_for_it():
    environment = {name: value for name, value in os.environ.items() if name != "FIRSTCOME_TEST"}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "conftest.py"],
        cwd=places.PROJECT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 4
    assert "make test-services" in ran.stderr


@pytest.mark.boots("pytest, a MariaDB, or children")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path):
    parent_words = """
import os, sys, time
from pathlib import Path
from scripts.stack import children
words = [sys.executable, "-c", "import signal; signal.pause()"]
child = children.start(words, log=Path(sys.argv[1]), environment=os.environ)
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    log = tmp_path / "child.log"
    command = [sys.executable, "-c", parent_words, str(log)]
    ran = subprocess.run(command, cwd=places.PROJECT, capture_output=True, text=True)
    orphan = int(ran.stdout)
    watched = children.start(["sleep", "60"], log=log, environment=os.environ)
    try:
        gone = lambda: _is_gone(orphan)  # noqa: E731
        children.wait_until(gone, name="the watch", child=watched, log=log, within_seconds=30)
    finally:
        children.stop(watched)
    assert _is_gone(orphan)


def _is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0]
    except OSError:
        return True
    return state == "Z"
