"""A simulator under test, talked to over HTTP on a free port: the real process, or its server in a thread."""

import functools
import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import urllib3
import uvicorn

from foundation.tests import racing
from scripts.simulators import process
from scripts.stack import children, ports

STARTS_WITHIN = 30
wait_until = functools.partial(racing.wait_until, seconds=20)
POOL = urllib3.PoolManager(maxsize=64, retries=False, timeout=20)


@dataclass(frozen=True)
class Simulator:
    """The process if it has its own, where it listens, and where it writes."""

    child: Popen[bytes] | None
    port: int
    log: Path

    def get(self, path: str, **query: str | int) -> tuple[int, dict[str, Any]]:
        return self.call("GET", path, fields={name: str(value) for name, value in query.items()})

    def post(self, path: str, fields, *, key: str | None = None, **more) -> tuple[int, dict[str, Any]]:
        headers = {"Idempotency-Key": key} if key is not None else {}
        return self.call("POST", path, json=fields, headers=headers, **more)

    def call(self, method: str, path: str, **more) -> tuple[int, dict[str, Any]]:
        """Status and JSON of any request. Every answer is JSON."""
        response = POOL.request(method, f"http://{ports.HOST}:{self.port}{path}", **more)
        assert response.headers["content-type"] == "application/json"
        return response.status, response.json()


@contextmanager
def running(name: str, folder: Path, *options: str, port: int | None = None) -> Iterator[Simulator]:
    """The simulator on the book `folder/book.sqlite3`, answering; ended on leaving."""
    at, log = port or ports.free(), folder / "log"
    command = [sys.executable, "-m", f"scripts.simulators.{name}", "--port", str(at)]
    command += ["--book", str(folder / "book.sqlite3"), *options]
    with children.running(command, name=name, log=log, is_ready=(ports.HOST, at)) as child:
        yield Simulator(child, at, log)


@contextmanager
def serving(name: str, folder: Path, *options: str, port: int | None = None) -> Iterator[Simulator]:
    """The simulator in a thread of this process, for tests that neither kill it nor read its log.

    Replies that never come are dropped on leaving.
    """
    at = port or ports.free()
    words = ["--port", str(at), "--book", str(folder / "book.sqlite3"), *options]
    ready, ended = threading.Event(), threading.Event()

    class InThread(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            ready.set()

    def serve():
        nonlocal server
        app, asked = importlib.import_module(f"scripts.simulators.{name}").build(words)
        own = process.OPTIONS | {"log_config": None, "log_level": "error"}
        server = InThread(uvicorn.Config(app, host=asked.host, port=asked.port, **own))
        server.run()
        app.state.book.close()
        ended.set()

    server: uvicorn.Server
    thread = threading.Thread(target=serve, name=name, daemon=True)
    thread.start()
    assert ready.wait(STARTS_WITHIN), f"{name} does not answer"
    try:
        yield Simulator(None, at, folder / "log")
    finally:
        server.should_exit = server.force_exit = True
        thread.join(STARTS_WITHIN)
        POOL.clear()
        assert ended.is_set(), f"{name} does not end"


def everything(simulator, path: str, *, limit=10_000) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    query: dict[str, str | int] = {"limit": limit}
    while True:
        status, page = simulator.get(path, **query)
        assert status == 200
        results += page["results"]
        if page["next"] is None:
            return results
        query["after"] = page["next"]
