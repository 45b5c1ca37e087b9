"""One clock for all processes: the database's, even on hosts with a wrong clock."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.utils import timezone
from structlog.testing import capture_logs

from scripts.stack import places
from scripts.tests import programs
from shop import clock
from shop.clock import Measurement
from shop.tests import process_state
from shop.tests.outages import database_away
from shop.tests.racing import wait_until
from shop.tests.second_connection import another_connection, ask
from shop.tests.second_process import environment

QUARTER = timedelta(minutes=15)
# The most time that a slow machine takes between two readings that should be equal.
CLOSE = timedelta(milliseconds=500)


@pytest.fixture
def unstarted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has not read the clock yet; threads that it starts end with the test."""
    process_state.follow_host()
    monkeypatch.setattr(clock, "_has_begun", False)
    yield
    process_state.follow_host()


def set_host_ahead(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    monkeypatch.setattr(clock, "_host_seconds", lambda: time.time() + by.total_seconds())


def database_now() -> datetime:
    with another_connection() as other:
        [[read]] = ask(other, "SELECT UTC_TIMESTAMP(6)")
    return read.replace(tzinfo=UTC)


def measured(base: float, *, error: float = 0.0, ahead: float = 0.0) -> Measurement:
    return Measurement(base, error, ahead, time.clock_gettime(clock.TICKS))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by", [QUARTER, -QUARTER])
def test_a_process_uses_the_databases_clock_on_a_host_with_a_wrong_clock(
    unstarted: None, monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    set_host_ahead(monkeypatch, by)

    assert abs(clock.now() - database_now()) < CLOSE
    assert clock.now().tzinfo is UTC
    assert clock.host_offset_seconds() == pytest.approx(by.total_seconds(), abs=0.5)


@pytest.mark.django_db(transaction=True)
def test_a_jump_of_the_hosts_clock_after_the_start_has_no_effect(
    unstarted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clock.now()
    set_host_ahead(monkeypatch, QUARTER)

    assert timedelta(0) <= clock.now() - before < CLOSE
    assert clock.host_offset_seconds() == pytest.approx(900, abs=0.5)


@pytest.mark.django_db(transaction=True)
def test_a_measurement_uses_and_closes_its_own_connection(unstarted: None) -> None:
    def connections_here() -> int:
        return len(ask(connection, "SHOW PROCESSLIST"))

    count = connections_here()
    threads = set()
    real = clock._sample

    def sample(cursor: Any) -> Measurement:
        threads.add(threading.current_thread().name)
        assert not cursor.db.in_atomic_block
        assert cursor.db is not connection
        return real(cursor)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clock, "_sample", sample)
        clock.now()

    assert threads == {"clock"}
    # The database watch may hold a connection for a second longer.
    wait_until(lambda: connections_here() <= count + 1)


@pytest.mark.parametrize(
    ("correction", "error", "followed", "logged"),
    [(0.8, 0.0, 0.8, []), (-0.05, 0.0, -0.05, []), (-600, 0.0, -600, [-600.0]), (0.02, 0.03, 0, [])],
)
def test_a_correction_applies_at_once_unless_the_measurement_agrees_and_a_large_one_is_logged(
    unstarted: None,
    monkeypatch: pytest.MonkeyPatch,
    correction: float,
    error: float,
    followed: float,
    logged: list[float],
) -> None:
    monkeypatch.setattr(clock, "_has_begun", True)
    base = time.time() - time.clock_gettime(clock.TICKS)
    clock._adopt(measured(base))
    with capture_logs() as lines:
        clock._adopt(measured(base + correction, error=error))

    assert clock._base == base + followed
    seconds = clock.now().timestamp() - time.clock_gettime(clock.TICKS)
    assert seconds == pytest.approx(base + followed, abs=CLOSE.total_seconds())
    assert [line["seconds"] for line in lines] == logged


@pytest.mark.django_db(transaction=True)
def test_a_process_without_a_database_at_the_start_waits_and_is_not_ready(
    unstarted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "RETRY_SECONDS", 0.05)
    set_host_ahead(monkeypatch, QUARTER)
    with capture_logs() as logged, database_away():
        clock.start()
        assert not clock.is_measured()
        assert clock.now() - timezone.now() == pytest.approx(QUARTER, abs=CLOSE)
        answer = Client().get("/readyz")
        assert answer.status_code == 503
        assert {"database", "clock"} <= set(answer.json()["down"])
        time.sleep(0.3)  # some more attempts
    wait_until(clock.is_measured)

    assert abs(clock.now() - database_now()) < CLOSE
    failures = [line for line in logged if "can't be read; trying" in line["event"]]
    assert len(failures) == 1


@pytest.mark.django_db(transaction=True)
def test_the_clock_keeps_running_if_the_database_fails_later(
    unstarted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "PERIOD_SECONDS", 0.05)
    monkeypatch.setattr(clock, "RETRY_SECONDS", 0.05)
    set_host_ahead(monkeypatch, QUARTER)
    assert clock.now() - timezone.now() < CLOSE
    with database_away():
        wait_until(lambda: (clock.measurement_age_seconds() or 0) > 0.3)
        assert clock.is_measured()
        assert abs(clock.now() - timezone.now()) < CLOSE
    wait_until(lambda: (clock.measurement_age_seconds() or 9) < 0.2)


@pytest.mark.boots("a forked process")
@pytest.mark.django_db(transaction=True)
def test_a_forked_process_measures_in_a_thread_of_its_own(unstarted: None) -> None:
    clock.now()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            seconds = (clock.now() - timezone.now()).total_seconds()
            names = [thread.name for thread in threading.enumerate()]
            os.write(writer, f"{abs(seconds) < 0.5} {names.count('clock')}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "True 1"
    os.waitpid(child, 0)


@pytest.mark.django_db(transaction=True)
def test_the_start_is_refused_only_if_the_clock_is_off_by_more_than_the_limit(
    unstarted: None,
    monkeypatch: pytest.MonkeyPatch,
    settings: LazySettings,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(clock, "REFUSAL_PAUSE_SECONDS", 0)
    set_host_ahead(monkeypatch, timedelta(seconds=-3))
    with pytest.raises(SystemExit) as ended:
        clock.start()
    assert ended.value.code == 1
    [line] = capfd.readouterr().err.splitlines()
    assert "this host's clock is 3.0 s behind the database's" in line
    assert "CLOCK_SKEW_SECONDS allows 2 s" in line

    settings.CLOCK_SKEW_SECONDS = 5
    clock.start()
    assert clock.is_measured()

    settings.CLOCK_SKEW_SECONDS = 2
    with pytest.raises(SystemExit):  # also where the time was asked for before
        clock.start()


AHEAD = """
import runpy, sys, time
from shop import clock
clock._host_seconds = lambda: time.time() + 900
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
ENTRY_POINTS = {
    "worker": ["celery", "-A", "shop", "worker", "--pool", "threads", "--loglevel", "INFO"],
    "beat": ["celery", "-A", "shop", "beat", "--pidfile", "", "--loglevel", "ERROR"],
    "issuer": ["django", "run_issuer"],
    "issuer once": ["django", "run_issuer", "--once"],
    "web": ["gunicorn", "--config", "python:shop.web_server", "--workers", "2"],
}


def run_ahead(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the module's command on this test's database and a host whose clock is 15 minutes ahead."""
    path = f"{places.PROJECT}:{folder}"
    own = environment(DJANGO_SETTINGS_MODULE="shop.settings", PYTHONPATH=path)
    return programs.end([sys.executable, "-c", AHEAD, *words], folder, seconds=60, **own)


@pytest.mark.boots("a Python process")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_serving_processes_refuse_to_start_on_a_host_15_minutes_ahead(name: str, tmp_path: Path) -> None:
    ended = run_ahead(*ENTRY_POINTS[name], folder=tmp_path)

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert re.match(
        r"firstcome: not starting: this host's clock is (900|899)\.\d s ahead of the database's, ",
        ended.stderr,
    )


@pytest.mark.boots("a Python process")
@pytest.mark.django_db(transaction=True)
def test_repair_commands_run_on_such_a_host_and_doctor_reports_it(tmp_path: Path) -> None:
    doctor, audit, migrate = (
        run_ahead("django", *words.split(), folder=tmp_path)
        for words in ("doctor --json", "audit", "migrate --check")
    )

    assert '"database clock", "level": "danger"' in doctor.stdout
    assert re.search(r"-(900\.|899\.9)", doctor.stdout)
    assert "L1 " in audit.stdout, audit.stderr
    assert migrate.returncode == 0
