"""The simulator's page for the card's owner: two buttons, one end, and a webhook about it."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.stack import ports
from scripts.tests.simulator import POOL, Simulator, running, serving, wait_until

ENDS = {"approve": ("succeeded", 201), "refuse": ("declined", 402)}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with serving("gateway", tmp_path_factory.mktemp("gateway"), "--latency-ms", "0") as started:
        yield started


@pytest.fixture
def key() -> str:
    return f"key-{uuid.uuid4()}"


def charge(gateway: Simulator, key: str, **more: Any) -> tuple[int, dict[str, Any]]:
    fields = {"token": "tok_3ds", "amount": 1_500, "currency": "KRW", "order": "order-1"} | more
    return gateway.post("/charges", fields, key=key)


def found(gateway: Simulator, key: str) -> dict[str, Any]:
    [row] = gateway.get("/charges", key=key)[1]["results"]
    return dict(row)


def get(url: str) -> Any:
    return POOL.request("GET", url)


def press(url: str, decision: str) -> Any:
    return POOL.request("POST", url, fields={"decision": decision}, encode_multipart=False, redirect=False)


def test_the_charge_is_pending_with_the_page_of_its_owner(gateway: Simulator, key: str) -> None:
    status, made = charge(gateway, key)
    assert (status, made["status"]) == (202, "pending")
    url = f"http://{ports.HOST}:{gateway.port}/3ds/{made['id']}"
    assert made["next_action"] == {"type": "redirect", "url": url}
    assert found(gateway, key) == made
    assert charge(gateway, key) == (202, made)


@pytest.mark.parametrize("decision", ENDS)
def test_a_button_ends_the_charge_once_and_leads_to_its_result(
    decision: str, gateway: Simulator, key: str
) -> None:
    _, made = charge(gateway, key, return_url="https://shop.example/orders/1")
    url = made["next_action"]["url"]
    pressed = press(url, decision)
    assert (pressed.status, pressed.headers["location"]) == (303, f"/3ds/{made['id']}")
    ended = found(gateway, key)
    status, answer = ENDS[decision]
    assert (ended["status"], "next_action" in ended) == (status, False)
    assert charge(gateway, key, return_url="https://shop.example/orders/1") == (answer, ended)
    other = next(one for one in ENDS if one != decision)
    assert press(url, other).status == 303
    assert found(gateway, key) == ended, "the first decision counts"
    text = get(url).data.decode()
    assert "<button" not in text
    assert '<a href="https://shop.example/orders/1">Back to the shop</a>' in text


def test_a_cancelled_charge_can_not_be_approved_any_more(gateway: Simulator, key: str) -> None:
    url = charge(gateway, key)[1]["next_action"]["url"]
    assert gateway.post("/charges/cancel", {"key": key})[1]["status"] == "cancelled"
    assert press(url, "approve").status == 303
    assert found(gateway, key)["status"] == "cancelled"
    assert "has cancelled the payment" in get(url).data.decode()


@pytest.mark.boots("a gateway simulator that is killed")
def test_without_a_decision_it_is_declined_after_a_while_also_after_a_kill(tmp_path: Path) -> None:
    options = ["--latency-ms", "0", "--action-seconds", "1", "--public-url", "https://pay.example/"]
    with running("gateway", tmp_path, *options) as gateway:
        _, made = charge(gateway, "one")
        assert made["next_action"]["url"] == f"https://pay.example/3ds/{made['id']}"
        wait_until(lambda: found(gateway, "one")["status"] == "declined")
        assert found(gateway, "one")["failure"]["code"] == "authentication_expired"
        charge(gateway, "two")
        gateway.child.kill()
    with running("gateway", tmp_path, *options) as gateway:
        wait_until(lambda: found(gateway, "two")["status"] == "declined")
