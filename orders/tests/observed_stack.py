"""A web server and a worker, real processes on the test's database, whose logs and traces a test reads."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from django.contrib.auth.models import User

from accounts.tokens import token_pairs
from foundation.tests.live import serving
from orders.tests.conftest import start_worker
from scripts.stack import children
from scripts.tests.simulator import Simulator

HTTP = urllib3.PoolManager(maxsize=8, retries=False, timeout=60)


@dataclass(frozen=True)
class LiveShop:
    """The API of a server at this address, called by accounts that are signed in."""

    address: str

    def get(self, account: User, path: str):
        answer = HTTP.request("GET", f"{self.address}/api/v1{path}", headers=_signed_in(account))
        assert answer.status == 200, answer.data
        return answer.json()

    def post(self, account: User, path: str, body, *, key="a", **headers: str) -> urllib3.BaseHTTPResponse:
        headers = _signed_in(account) | {"Idempotency-Key": key} | headers
        return HTTP.request("POST", f"{self.address}/api/v1{path}", json=body, headers=headers)


def _signed_in(account):
    return {"Authorization": f"Bearer {token_pairs.create_access_token(account)}"}


@dataclass(frozen=True)
class ObservedStack(LiveShop):
    """The server's address, and the folder of both logs."""

    folder: Path

    def lines(self, process: str) -> list[dict[str, Any]]:
        """The log lines of `web` or `worker` that are JSON; Celery's banner is not."""
        text = (self.folder / f"{process}.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@contextmanager
def web(folder: Path, *, workers=1, **settings: str) -> Iterator[ObservedStack]:
    """A web server alone."""
    with serving(folder, workers=workers, **({"LOG_LEVEL": "INFO"} | settings)) as server:
        yield ObservedStack(server.address, folder)


@contextmanager
def running(
    folder: Path, gateway: Simulator, data_platform: Simulator, *, workers=1, **settings: str
) -> Iterator[ObservedStack]:
    """The processes, which end with the block as they do on SIGTERM. `settings` are environment variables."""
    settings = {"LOG_LEVEL": "INFO"} | settings
    worker = start_worker(folder / "worker.log", gateway, data_platform, **settings)
    try:
        with web(folder, workers=workers, **settings) as stack:
            yield stack
    finally:
        children.stop(worker)
