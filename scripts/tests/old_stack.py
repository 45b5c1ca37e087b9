"""The previous release's processes on a database that this release has migrated, driven over HTTP."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import MySQLdb
import urllib3

from scripts.stack import children, places, ports
from scripts.tests import previous_release
from shop import configuration
from shop.tests.outages import OwnRedis

DATABASE = f"firstcome_previous_release_{os.getpid()}"
STARTS_WITHIN, COMMAND_SECONDS, CALL_SECONDS = 60, 120, 40
WEB = ("gunicorn", "--config", "python:shop.web_server", "--workers", "1", "--graceful-timeout", "4")
WORKER = ("celery", "-A", "shop", "worker", "--pool", "threads", "--concurrency", "4")
WORKER += ("--without-gossip", "--without-mingle", "--without-heartbeat")


@dataclass(frozen=True)
class OldStack:
    """Where the old code is, its settings, where its web server answers, and who may call it."""

    code: Path
    settings: Mapping[str, str]
    port: int
    tokens: Mapping[str, Any]
    http: urllib3.PoolManager

    def call(
        self, method: str, path: str, body: Any = None, *, as_staff: bool = False, wait: int = 20
    ) -> Any:
        """Status and JSON of the answer."""
        token = self.tokens["staff"] if as_staff else self.tokens["users"][0]["access"]
        headers = {"Authorization": f"Bearer {token}", "Prefer": f"wait={wait}"}
        headers["Idempotency-Key"] = uuid.uuid4().hex
        url = f"http://{ports.HOST}:{self.port}{path}"
        answer = self.http.request(method, url, json=body, headers=headers)
        return answer.status, answer.json()

    def manage(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A management command of the old code."""
        return _manage(self.code, self.settings, *words)


@contextmanager
def running(folder: Path) -> Iterator[OldStack]:
    """The old release's web server, worker and simulators, on a database of this release's schema."""
    code = previous_release.export(folder / "code")
    with ExitStack() as started:
        redis = OwnRedis(folder)
        redis.start()
        started.callback(redis.stop)
        started.enter_context(_database())
        listening = {name: ports.free() for name in ("gateway", "data_platform", "web")}
        settings = os.environ | {
            "DATABASE_URL": urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{DATABASE}").geturl(),
            "REDIS_URL": redis.url,
            "BROKER_URL": f"{redis.url.removesuffix('0')}1",
            "GATEWAY_URL": f"http://{ports.HOST}:{listening['gateway']}",
            "DATA_PLATFORM_URL": f"http://{ports.HOST}:{listening['data_platform']}",
        }
        _require_success(_manage(places.PROJECT, settings, "migrate", "--no-input"))
        tokens = folder / "tokens.json"
        seed = ("seed_demo", "--users", "2", "--products", "2", "--tokens", str(tokens))
        _require_success(_manage(code, settings | {"DEMO": "1"}, *seed))
        start = partial(_start, started, code=code, settings=settings)
        start("worker", WORKER)
        for name in ("gateway", "data_platform"):
            book = str(folder / f"{name}.sqlite3")
            start(name, (f"scripts.simulators.{name}", "--port", str(listening[name]), "--book", book))
        start("web", (*WEB, "--bind", f"{ports.HOST}:{listening['web']}"))
        with urllib3.PoolManager(retries=False, timeout=CALL_SECONDS) as http:
            yield OldStack(code, settings, listening["web"], json.loads(tokens.read_text()), http)


@contextmanager
def added_column(table: str, definition: str) -> Iterator[None]:
    """The table with one more column, which the old code doesn't know."""
    _execute(f"ALTER TABLE {DATABASE}.{table} ADD COLUMN added_since {definition}")
    try:
        yield
    finally:
        _execute(f"ALTER TABLE {DATABASE}.{table} DROP COLUMN added_since")


@contextmanager
def _database() -> Iterator[None]:
    _execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
    try:
        yield
    finally:
        _execute(f"DROP DATABASE {DATABASE}")


def _execute(statement: str) -> None:
    settings = configuration.database("DATABASE_URL", "")
    connection = MySQLdb.connect(
        user=settings["USER"], password=settings["PASSWORD"], **settings["OPTIONS"], connect_timeout=10
    )
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(statement)


def _start(
    started: ExitStack, name: str, words: Sequence[str], *, code: Path, settings: Mapping[str, str]
) -> None:
    """Start a process of the old code; where it has a port, return once it listens there."""
    log = code.with_name(f"{name}.log")
    child = children.start([sys.executable, "-m", *words], log=log, environment=settings, folder=code)
    started.callback(children.stop, child)
    if options := {"--port", "--bind"}.intersection(words):
        address = (ports.HOST, int(words[words.index(options.pop()) + 1].rpartition(":")[2]))
        children.wait_until(
            lambda: ports.answers(address), name=name, child=child, log=log, within_seconds=STARTS_WITHIN
        )


def _manage(code: Path, settings: Mapping[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=code,
        env=settings,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def _require_success(ran: "subprocess.CompletedProcess[str]") -> None:
    assert ran.returncode == 0, f"{ran.args}: {ran.stdout}{ran.stderr}"
