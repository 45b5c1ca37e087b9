"""A web server and a worker, real processes on the test's database, whose logs and traces a test reads."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from django.contrib.auth.models import User

from accounts.tokens import tokens
from orders.tests.conftest import start_worker
from scripts.stack import children
from scripts.tests.simulator import Simulator
from shop.tests.live import serving

HTTP = urllib3.PoolManager(retries=False, timeout=30)


@dataclass(frozen=True)
class ObservedStack:
    """The server's address, and the folder of both logs."""

    address: str
    folder: Path

    def post(self, account: User, path: str, body: Any, **headers: str) -> urllib3.BaseHTTPResponse:
        """A call of the API, signed in as the account."""
        own = {"Authorization": f"Bearer {tokens.create_access_token(account)}"}
        return HTTP.request("POST", f"{self.address}/api/v1{path}", json=body, headers=own | headers)

    def lines(self, process: str) -> list[dict[str, Any]]:
        """The log lines of `web` or `worker` that are JSON; Celery's banner is not."""
        text = (self.folder / f"{process}.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@contextmanager
def web(folder: Path, *, workers: int = 1, **settings: str) -> Iterator[ObservedStack]:
    """A web server alone."""
    with serving(folder, workers=workers, **({"LOG_LEVEL": "INFO"} | settings)) as server:
        yield ObservedStack(server.address, folder)


@contextmanager
def running(
    folder: Path, gateway: Simulator, data_platform: Simulator, *, workers: int = 1, **settings: str
) -> Iterator[ObservedStack]:
    """The processes, which end with the block as they do on SIGTERM. `settings` are environment variables."""
    settings = {"LOG_LEVEL": "INFO"} | settings
    worker = start_worker(folder / "worker.log", gateway, data_platform, **settings)
    try:
        with web(folder, workers=workers, **settings) as stack:
            yield stack
    finally:
        children.stop(worker)
