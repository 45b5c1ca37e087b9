"""k6 as the benchmarks use it, against a server whose every answer is known."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

import pytest

from scripts.bench import load
from scripts.bench.load import Figures
from scripts.stack.instance import Instance

pytestmark = pytest.mark.boots("k6")

USERS = 300


class Shop(ThreadingHTTPServer):
    """Remembers what was asked, and refuses every third request."""

    daemon_threads = True
    request_queue_size = 2 * load.VUS

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.mutex = Lock()
        self.asked: list[tuple[str, str, str, dict]] = []


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Shop

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        account, key = self.headers["Authorization"], self.headers.get("Idempotency-Key", "")
        with self.server.mutex:
            self.server.asked.append((self.path, account, key, body))
            is_refused = len(self.server.asked) % 3 == 0
        self.send_response(409 if is_refused else 201)
        content = json.dumps({"code": "conflict"} if is_refused else {}).encode()
        self.send_header("Content-Length", str(len(content)))
        if is_refused:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def instance(tmp_path: Path, shop: Shop) -> Instance:
    (tmp_path / "log").mkdir()
    users = [{"id": number, "username": "", "access": f"token-{number}"} for number in range(USERS)]
    (tmp_path / "tokens.json").write_text(json.dumps({"staff": "", "users": users}))
    (tmp_path / "products.json").write_text(json.dumps(list(range(1, 8))))
    return Instance(home=tmp_path, port=shop.server_address[1], database="mariadb")


def run(script: str, instance: Instance, **settings: object) -> Figures:
    files = {name.upper(): instance.home / f"{name}.json" for name in ("tokens", "products")}
    return load.run(script, instance=instance, seconds=10, **files, **settings)


def test_every_account_asks_once_and_refusals_are_counted_as_errors(instance, shop):
    figures = run("coupons", instance, CAMPAIGN=7)
    assert (figures.requests, figures.errors, figures.succeeded) == (USERS, USERS // 3, USERS * 2 // 3)
    assert figures.statuses == {"409": USERS // 3}
    assert {(path, body["campaign"]) for path, _, _, body in shop.asked} == {("/api/v1/coupons", 7)}
    assert sorted(account for _, account, _, _ in shop.asked) == sorted(
        f"Bearer token-{number}" for number in range(USERS)
    )
    assert 0 < figures.p50_ms <= figures.p95_ms <= figures.max_ms
    assert 0 < figures.seconds < 10
    assert figures.per_second == figures.succeeded / figures.seconds
    assert figures.k6_cores > 0
