"""The gateway simulator's webhooks, also of refunds and disputes that begin there.

That a pending charge's webhook ends a call which waits for it is in orders/tests/test_webhook_api.py.
"""

import sqlite3
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
ASKED = {"amount": 700, "currency": "KRW", "order": "order-1"}


@contextmanager
def listening(port: int = 0) -> Iterator[CannedShop]:
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


def charge(gateway: Simulator, key: str = "key", token: str = "tok_webhook") -> dict[str, Any]:
    return gateway.post("/charges", ASKED | {"token": token}, key=key)[1]


def booked(gateway: Simulator) -> dict[str, Any]:
    [row] = gateway.get("/charges", key="key")[1]["results"]
    return row


def undelivered(gateway: Simulator) -> int:
    return sum(row["delivered_at"] is None for row in gateway.get("/webhooks")[1]["results"])


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
        assert booked(again)["status"] == "succeeded"
        wait_until(lambda: undelivered(again) == 0)
    assert len(listener.sent) == 1


def told(listener: CannedShop, count: int) -> list[tuple[str, int]]:
    wait_until(lambda: len(listener.sent) == count)
    return sorted((one.body["type"], one.body["data"]["amount"]) for one in listener.sent)


def test_a_refund_is_told_once_and_is_in_the_book(gateway: Simulator, listener: CannedShop) -> None:
    charged = charge(gateway, token="tok_ok")["id"]
    for _ in range(2):
        assert gateway.post("/refunds", {"charge": charged, "amount": 300}, key="clerk")[0] == 201
    assert told(listener, 1) == [("charge.refunded", 300)]
    wanted = {"key": "key", "charge": charged, "order": "order-1"}
    assert listener.sent[0].body["data"].items() >= wanted.items()
    assert booked(gateway)["refunded_amount"] == 300


@pytest.mark.parametrize("end", ["won", "lost"])
def test_a_dispute_is_opened_and_decided_and_the_shop_is_told_of_both(
    gateway: Simulator, listener: CannedShop, end: str
) -> None:
    charged = charge(gateway, token="tok_ok")["id"]
    asked = {"charge": charged, "amount": 400}
    status, opened = gateway.post("/disputes", asked, key="owner")
    assert (status, opened["status"], opened["amount"], opened["currency"]) == (201, "open", 400, "KRW")
    assert gateway.post("/disputes", asked, key="owner") == (201, opened)
    assert booked(gateway)["disputes"] == [opened]
    refused, answer = gateway.post("/refunds", {"charge": charged, "amount": 301}, key="clerk")
    assert (refused, answer["code"], answer["left_amount"]) == (409, "refund_exceeds_charge", 300)
    for _ in range(2):
        status, closed = gateway.post(f"/disputes/{opened['id']}/close", {"status": end})
        assert (status, closed) == (200, opened | {"status": end})
    assert told(listener, 2) == [("charge.disputed", 400), ("dispute.closed", 400)]
    other = {"won": "lost", "lost": "won"}[end]
    assert gateway.post(f"/disputes/{opened['id']}/close", {"status": other})[0] == 409
    left = gateway.post("/refunds", {"charge": charged, "amount": 301}, key="clerk again")[0]
    assert left == (201 if end == "won" else 409)
