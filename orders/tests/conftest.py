"""A real Celery worker on the tests' own database and broker."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from scripts import children
from shop.celery import app


def start_worker(log: Path) -> "subprocess.Popen[bytes]":
    """A worker process as `make run` starts it, on the test database; returns once it answers."""
    name = settings.DATABASES["default"]["NAME"]
    environment = os.environ | {"DATABASE_URL": _database_url(name), "GATEWAY_TIMEOUT_SECONDS": "3"}
    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "--pool", "threads"]
    child = children.start(
        [*command, "--concurrency", "4", "--without-gossip", "--without-mingle"],
        log=log,
        environment=environment,
    )
    children.wait_until(_answers, name="worker", child=child, log=log, within_seconds=30)
    return child


def _answers() -> bool:
    return bool(app.control.ping(timeout=0.5))


def _database_url(name: str) -> str:
    """The shop's own database address, with the tests' database in the place of the name."""
    address, _, options = os.environ["DATABASE_URL"].partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{options}"


@pytest.fixture(scope="module")
def worker(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker for all tests of a module."""
    child = start_worker(tmp_path_factory.mktemp("worker") / "worker.log")
    yield
    children.stop(child)


@pytest.fixture
def mortal_worker(transactional_db: None, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker that its test may kill."""
    child = start_worker(tmp_path / "worker.log")
    yield child
    children.stop(child)
