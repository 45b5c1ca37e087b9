"""What begins at the gateway simulator itself: refunds and disputes, by calls and on its pages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.tests.canned_shop import CannedShop
from scripts.tests.simulator import Simulator, serving, wait_until
from scripts.tests.test_gateway_webhooks import SECRET, listening

ASKED = {"token": "tok_ok", "amount": 700, "currency": "KRW", "order": "order-1"}


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedShop]:
    monkeypatch.setenv("WEBHOOK_SECRET_SIMULATOR", SECRET)
    with listening() as shop:
        yield shop


@pytest.fixture
def gateway(tmp_path: Path, listener: CannedShop) -> Iterator[Simulator]:
    with serving("gateway", tmp_path, "--latency-ms", "0", "--webhook-url", listener.address) as started:
        yield started


@pytest.fixture
def charge(gateway: Simulator) -> str:
    return str(gateway.post("/charges", ASKED, key="key")[1]["id"])


def booked(gateway: Simulator) -> dict[str, Any]:
    [row] = gateway.get("/charges", key="key")[1]["results"]
    return row


def told(listener: CannedShop, count: int) -> list[tuple[str, int]]:
    wait_until(lambda: len(listener.sent) == count)
    return sorted((one.body["type"], one.body["data"]["amount"]) for one in listener.sent)


def test_a_refund_is_told_once_and_is_in_the_book(
    gateway: Simulator, listener: CannedShop, charge: str
) -> None:
    for _ in range(2):
        assert gateway.post("/refunds", {"charge": charge, "amount": 300}, key="clerk")[0] == 201
    assert told(listener, 1) == [("charge.refunded", 300)]
    [event] = [one.body for one in listener.sent]
    assert (event["data"]["key"], event["data"]["charge"], event["data"]["order"]) == (
        "key",
        charge,
        "order-1",
    )
    assert booked(gateway)["refunded_amount"] == 300
    assert gateway.get("/summary")[1] == {
        "charged_amount": 700, "refunded_amount": 300, "charges": 1, "refunds": 1,
    }  # fmt: skip


@pytest.mark.parametrize("end", ["won", "lost"])
def test_a_dispute_is_opened_and_decided_and_the_shop_is_told_of_both(
    gateway: Simulator, listener: CannedShop, charge: str, end: str
) -> None:
    status, opened = gateway.post("/disputes", {"charge": charge, "amount": 400}, key="owner")
    assert (status, opened["status"], opened["amount"], opened["currency"]) == (201, "open", 400, "KRW")
    assert gateway.post("/disputes", {"charge": charge, "amount": 400}, key="owner") == (201, opened)
    assert booked(gateway)["disputes"] == [opened]
    refused, answer = gateway.post("/refunds", {"charge": charge, "amount": 301}, key="clerk")
    assert (refused, answer["code"], answer["left_amount"]) == (409, "refund_exceeds_charge", 300)
    for _ in range(2):
        status, closed = gateway.post(f"/disputes/{opened['id']}/close", {"status": end})
        assert (status, closed) == (200, opened | {"status": end})
    assert told(listener, 2) == [("charge.disputed", 400), ("dispute.closed", 400)]
    assert gateway.get("/disputes", charge=charge)[1]["results"] == [closed]
    other = {"won": "lost", "lost": "won"}[end]
    assert gateway.post(f"/disputes/{opened['id']}/close", {"status": other})[0] == 409
    left = gateway.post("/refunds", {"charge": charge, "amount": 301}, key="clerk again")[0]
    assert left == (201 if end == "won" else 409)
