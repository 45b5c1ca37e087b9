"""The gateway simulator's webhooks: `tok_webhook` settles after its answer, and the shop gets a webhook."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.stack import ports
from scripts.tests import canned_shop
from scripts.tests.canned_shop import Answer, CannedShop
from scripts.tests.simulator import Simulator, running, serving, wait_until

SECRET = "the secret of these tests"
OK = Answer(200, {})
ASKED = {"token": "tok_webhook", "amount": 700, "currency": "KRW", "order": "order-1"}


@contextmanager
def listening(port: int = 0) -> Iterator[CannedShop]:
    """A shop that keeps what it is sent."""
    with canned_shop.running(port) as shop:
        shop.answer = lambda sent: OK
        yield shop


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET_SIMULATOR", SECRET)


@pytest.fixture
def listener() -> Iterator[CannedShop]:
    with listening() as shop:
        yield shop


@pytest.fixture
def gateway(tmp_path: Path, listener: CannedShop) -> Iterator[Simulator]:
    with calling(tmp_path, listener.address) as started:
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
    gateway: Simulator, listener: CannedShop
) -> None:
    began = time.monotonic()
    status, made = charge(gateway)
    assert (status, made["status"]) == (202, "pending")
    assert time.monotonic() - began < 1.5
    assert charge(gateway) == (202, made)
    wait_until(lambda: bool(listener.sent))
    assert time.monotonic() - began >= 2
    [event] = [one.body for one in listener.sent]
    assert set(event) == {"id", "type", "created_at", "data"}
    assert event["id"].startswith("evt_")
    assert event["type"] == "charge.succeeded"
    assert event["created_at"].endswith("Z")
    wanted = {"key": "key", "charge": made["id"], "order": "order-1", "amount": 700, "currency": "KRW"}
    assert event["data"] == wanted
    assert charge(gateway) == (201, {**made, "status": "succeeded"})
    wait_until(lambda: undelivered(gateway) == 0)
    assert len(listener.sent) == 1


def test_a_shop_that_fails_gets_the_same_event_again(gateway: Simulator, listener: CannedShop) -> None:
    listener.queue(*(Answer(status, {}) for status in (500, 503, 404, 302)), OK)
    charge(gateway)
    wait_until(lambda: len(listener.sent) == 5)
    assert len({one.raw for one in listener.sent}) == 1
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
    with listening(port) as listener, calling(tmp_path, url) as again:
        wait_until(lambda: undelivered(again) == 0)
    assert sorted(one.body["data"]["key"] for one in listener.sent) == ["key-0", "key-1", "key-2"]


@pytest.mark.boots("a gateway simulator that is killed")
def test_a_pending_charge_is_settled_and_sent_after_a_kill(tmp_path: Path, listener: CannedShop) -> None:
    with calling(tmp_path, listener.address, running) as gateway:
        charge(gateway)
        gateway.child.kill()
        gateway.child.wait()
    with closing(sqlite3.connect(tmp_path / "book.sqlite3")) as book:
        assert book.execute("SELECT status FROM charges").fetchall() == [("pending",)]
    with calling(tmp_path, listener.address) as again:
        wait_until(lambda: bool(listener.sent))
        assert status_of(again) == "succeeded"
        wait_until(lambda: undelivered(again) == 0)
    assert len(listener.sent) == 1


def test_a_pending_charge_that_is_cancelled_is_never_made_and_sends_no_webhook(
    gateway: Simulator, listener: CannedShop
) -> None:
    charge(gateway, "cancelled")
    status, cancelled = gateway.post("/charges/cancel", {"key": "cancelled"})
    assert (status, cancelled["status"]) == (200, "cancelled")
    assert charge(gateway, "cancelled")[0] == 409
    charge(gateway, "kept")
    wait_until(lambda: bool(listener.sent))
    assert [one.body["data"]["key"] for one in listener.sent] == ["kept"]
    assert status_of(gateway, "cancelled") == "cancelled"
