"""A web server for tests, started as in production, with the test's database and Redis."""

import functools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3

from foundation.tests.second_process import environment
from scripts.stack import children, ports


@dataclass(frozen=True)
class Served:
    """A running server: its address and its process."""

    address: str
    child: "subprocess.Popen[bytes]"


def workers_of(manager: int) -> set[int]:
    """The processes that the web server's manager has now."""
    return set(map(int, Path(f"/proc/{manager}/task/{manager}/children").read_text().split()))


@contextmanager
def web(folder: Path, **settings) -> Iterator[str]:
    """The address of a running server, which sees committed rows. `settings` are as for `serving`."""
    with serving(folder, **settings) as server:
        yield server.address


@contextmanager
def serving(
    folder: Path,
    *,
    workers=2,
    application="shop.asgi:application",
    host: str = ports.HOST,
    port: int | None = None,
    **settings: str,
) -> Iterator[Served]:
    """A running server, which sees committed rows. `settings` are environment variables."""
    port = port or ports.free()
    address = f"http://{host}:{port}"
    command = [sys.executable, "-m", "gunicorn", "--config", "python:shop.web_server", application]
    command += ["--bind", f"{host}:{port}", "--workers", str(workers)]
    # Less than the wait of `children.stop`: a worker that doesn't end would outlive the server.
    command += ["--graceful-timeout", "4"]
    log = folder / "web.log"
    own, serves = environment(**settings), functools.partial(_serves, address)
    with children.running(command, name="web", log=log, is_ready=serves, environment=own) as child:
        yield Served(address, child)


def _serves(address):
    """Whether a worker answers: until one listens, connections are refused."""
    try:
        with urllib3.PoolManager(timeout=1, retries=False) as http:
            http.request("GET", f"{address}/healthz")
    except urllib3.exceptions.HTTPError:
        return False
    return True
