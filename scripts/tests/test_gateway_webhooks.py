"""The gateway simulator's webhooks: `tok_webhook` settles after its answer, and the shop gets a webhook."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from scripts.stack import ports
from scripts.tests.simulator import Simulator, running, serving, wait_until

SECRET = "the secret of these tests"
ASKED = {"token": "tok_webhook", "amount": 700, "currency": "KRW", "order": "order-1"}


class Listener(ThreadingHTTPServer):
    """A shop that keeps what it is sent, and answers with the given statuses, then 200."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__((ports.HOST, port), Handler)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.url = f"http://{ports.HOST}:{self.server_port}/api/v1/webhooks/simulator"

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(({**self.headers, "path": self.path}, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET_SIMULATOR", SECRET)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as started:
        Thread(target=started.serve_forever, daemon=True).start()
        yield started
        started.shutdown()


@pytest.fixture
def gateway(tmp_path: Path, listener: Listener) -> Iterator[Simulator]:
    with calling(tmp_path, listener.url) as started:
        yield started


def calling(folder: Path, url: str, start: Any = serving) -> Any:
    return start("gateway", folder, "--latency-ms", "0", "--webhook-url", url)


def charge(gateway: Simulator, key: str = "key") -> tuple[int, dict[str, Any]]:
    return gateway.post("/charges", ASKED, key=key)


def status_of(gateway: Simulator, key: str = "key") -> str:
    [row] = gateway.get("/charges", key=key)[1]["results"]
    return str(row["status"])


def undelivered(gateway: Simulator) -> int:
    return sum(row["delivered_at"] is None for row in gateway.get("/webhooks")[1]["results"])


def test_the_answer_is_pending_and_two_seconds_later_the_shop_gets_a_webhook(
    gateway: Simulator, listener: Listener
) -> None:
    began = time.monotonic()
    status, made = charge(gateway)
    assert (status, made["status"]) == (202, "pending")
    assert time.monotonic() - began < 1.5
    assert charge(gateway) == (202, made)
    wait_until(lambda: bool(listener.received))
    assert time.monotonic() - began >= 2
    [event] = listener.events()
    assert set(event) == {"id", "type", "created_at", "data"}
    assert event["id"].startswith("evt_")
    assert event["type"] == "charge.succeeded"
    assert event["created_at"].endswith("Z")
    wanted = {"key": "key", "charge": made["id"], "order": "order-1", "amount": 700, "currency": "KRW"}
    assert event["data"] == wanted
    assert charge(gateway) == (201, {**made, "status": "succeeded"})
    wait_until(lambda: undelivered(gateway) == 0)
    assert len(listener.received) == 1


def test_a_shop_that_fails_gets_the_same_event_again(gateway: Simulator, listener: Listener) -> None:
    listener.statuses = [500, 503, 404, 302]
    charge(gateway)
    wait_until(lambda: len(listener.received) == 5)
    assert len({body for _, body in listener.received}) == 1
    wait_until(lambda: undelivered(gateway) == 0)


@pytest.mark.boots("a gateway simulator that is killed")
def test_what_a_shop_that_is_down_misses_is_sent_by_the_next_process(tmp_path: Path) -> None:
    port = ports.free()
    url = f"http://{ports.HOST}:{port}/"
    with calling(tmp_path, url, running) as gateway:
        for number in range(3):
            charge(gateway, f"key-{number}")
        wait_until(lambda: undelivered(gateway) == 3)
        gateway.child.kill()
        gateway.child.wait()
    with Listener(port) as listener:
        Thread(target=listener.serve_forever, daemon=True).start()
        with calling(tmp_path, url) as again:
            wait_until(lambda: undelivered(again) == 0)
        listener.shutdown()
    assert sorted(event["data"]["key"] for event in listener.events()) == ["key-0", "key-1", "key-2"]


@pytest.mark.boots("a gateway simulator that is killed")
def test_a_pending_charge_is_settled_and_sent_after_a_kill(tmp_path: Path, listener: Listener) -> None:
    with calling(tmp_path, listener.url, running) as gateway:
        charge(gateway)
        gateway.child.kill()
        gateway.child.wait()
    with closing(sqlite3.connect(tmp_path / "book.sqlite3")) as book:
        assert book.execute("SELECT status FROM charges").fetchall() == [("pending",)]
    with calling(tmp_path, listener.url) as again:
        wait_until(lambda: bool(listener.received))
        assert status_of(again) == "succeeded"
        wait_until(lambda: undelivered(again) == 0)
    assert len(listener.received) == 1


def test_a_pending_charge_that_is_cancelled_is_never_made_and_sends_no_webhook(
    gateway: Simulator, listener: Listener
) -> None:
    charge(gateway, "cancelled")
    status, cancelled = gateway.post("/charges/cancel", {"key": "cancelled"})
    assert (status, cancelled["status"]) == (200, "cancelled")
    assert charge(gateway, "cancelled")[0] == 409
    charge(gateway, "kept")
    wait_until(lambda: bool(listener.received))
    assert [event["data"]["key"] for event in listener.events()] == ["kept"]
    assert status_of(gateway, "cancelled") == "cancelled"


def test_only_what_settles_after_its_answer_sends_a_webhook(gateway: Simulator, listener: Listener) -> None:
    for token in ("tok_ok", "tok_declined", "tok_slow"):
        gateway.post("/charges", {**ASKED, "token": token}, key=token)
    charge(gateway, "last")
    wait_until(lambda: bool(listener.received))
    assert [row["data"]["key"] for row in gateway.get("/webhooks")[1]["results"]] == ["last"]
    assert [row["data"]["key"] for row in gateway.get("/webhooks", key="last")[1]["results"]] == ["last"]
