"""The gateway simulator's webhooks: none is lost while the shop is down, or the simulator killed.

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


def calling(folder: Path, url: str, start: Any = serving) -> Any:
    return start("gateway", folder, "--latency-ms", "0", "--webhook-url", url)


def charge(gateway: Simulator, key: str = "key") -> None:
    gateway.post("/charges", ASKED | {"token": "tok_webhook"}, key=key)


def undelivered(gateway: Simulator) -> int:
    return sum(row["delivered_at"] is None for row in gateway.get("/webhooks")[1]["results"])


@pytest.mark.boots("a gateway simulator that is killed")
def test_what_a_shop_that_is_down_misses_is_sent_by_the_next_process(tmp_path):
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
def test_a_pending_charge_is_settled_and_sent_after_a_kill(tmp_path):
    with listening() as listener:
        with calling(tmp_path, listener.address, running) as gateway:
            charge(gateway)
            gateway.child.kill()
            gateway.child.wait()
        with closing(sqlite3.connect(tmp_path / "book.sqlite3")) as book:
            assert book.execute("SELECT status FROM charges").fetchall() == [("pending",)]
        with calling(tmp_path, listener.address) as again:
            wait_until(lambda: bool(listener.sent))
            [booked] = again.get("/charges", key="key")[1]["results"]
            assert booked["status"] == "succeeded"
            wait_until(lambda: undelivered(again) == 0)
    assert len(listener.sent) == 1
