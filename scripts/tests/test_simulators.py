"""The simulators: books that no race can bend, 3-D Secure, webhooks that are not lost, signatures, and kills.

What the cards of the gateway's tokens do is in payments/tests/test_gateway_contract.py; that the webhook of a
pending charge ends a call which waits for it is in orders/tests/test_card_tokens.py.
"""

import hmac
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any
from unittest.mock import patch

import orjson
import pytest
import urllib3

from scripts.stack import ports
from scripts.tests import canned_shop
from scripts.tests.canned_shop import Answer, CannedShop
from scripts.tests.simulator import POOL, Simulator, everything, running, serving, wait_until


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with serving("gateway", tmp_path_factory.mktemp("gateway"), "--latency-ms", "0") as started:
        yield started


@pytest.fixture
def key():
    return f"key-{uuid.uuid4()}"


def charge(gateway: Simulator, key: str, token: str, **more) -> tuple[int, dict[str, Any]]:
    asked = {"token": token, "amount": 1000, "currency": "KRW", "order": "order-1"} | more
    return gateway.post("/charges", asked, key=key)


def found(gateway: Simulator, key: str) -> list[dict[str, Any]]:
    return gateway.get("/charges", key=key)[1]["results"]


def test_refunds_never_exceed_the_charge(gateway, key):
    made = charge(gateway, key, "tok_ok", amount=100)[1]

    def refund(number):
        return gateway.post("/refunds", {"charge": made["id"], "amount": 30}, key=f"{key}-{number}")[0]

    with ThreadPoolExecutor(20) as pool:
        assert Counter(pool.map(refund, range(20))) == {201: 3, 409: 17}
    status, refusal = gateway.post("/refunds", {"charge": made["id"], "amount": 11}, key=f"{key}-rest")
    assert (status, refusal["code"]) == (409, "refund_exceeds_charge")
    assert gateway.post("/refunds", {"charge": made["id"], "amount": 10}, key=f"{key}-rest")[0] == 201
    assert found(gateway, key)[0]["refunded_amount"] == 100
    amounts = [row["amount"] for row in gateway.get("/refunds", charge=made["id"])[1]["results"]]
    assert amounts == [30, 30, 30, 10]
    declined = charge(gateway, f"{key}-declined", "tok_declined")[1]
    for charge_id, code in ((declined["id"], "refund_exceeds_charge"), ("ch_nobody", "charge_not_found")):
        asked_back = {"charge": charge_id, "amount": 1}
        assert gateway.post("/refunds", asked_back, key=f"{key}-{code}")[1]["code"] == code


def test_pages_of_a_filtered_list_go_on_after_the_id_in_next_and_end_with_what_was_added(gateway, key):
    order = str(uuid.uuid4())
    made = [charge(gateway, f"{key}-{number}", "tok_ok", order=order)[1] for number in range(3)]
    charge(gateway, f"{key}-of-another", "tok_ok", order=str(uuid.uuid4()))

    status, first = gateway.get("/charges", order=order, limit=2)
    made.append(charge(gateway, f"{key}-later", "tok_ok", order=order)[1])
    rest = gateway.get("/charges", order=order, limit=2, after=first["next"])[1]

    assert (status, first) == (200, {"results": made[:2], "next": made[1]["id"]})
    assert rest == {"results": made[2:], "next": None}
    assert gateway.get("/charges", order=order) == (200, {"results": made}), "all without a limit"


def test_a_bad_query_is_refused_rather_than_listing_all(gateway):
    queries = ["limit=0", "limit=10001", "limit=x", "limit=-1", "after=ch_nobody", "kye=a"]
    moments = ["yesterday", "2026-01-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00%2B09:00"]
    addresses = [f"{path}?{query}" for path in ("/charges", "/refunds") for query in queries]
    addresses += [f"/charges?{name}={one}" for name in ("created_from", "created_to") for one in moments]
    answers = {address: gateway.call("GET", address) for address in addresses}
    assert {
        address: status
        for address, (status, refusal) in answers.items()
        if (status, refusal.get("code")) != (400, "invalid")
    } == {}


ENDS = {"approve": ("succeeded", 201), "refuse": ("declined", 402)}


def press(url: str, decision: str):
    return POOL.request("POST", url, fields={"decision": decision}, encode_multipart=False, redirect=False)


@pytest.mark.parametrize("decision", ENDS)
def test_the_first_decision_on_a_charges_page_ends_it(decision, gateway, key):
    _, made = charge(gateway, key, "tok_3ds")
    url = made["next_action"]["url"]
    pressed = press(url, decision)
    assert (pressed.status, pressed.headers["location"]) == (303, f"/3ds/{made['id']}")
    [ended] = found(gateway, key)
    status, answer = ENDS[decision]
    assert (ended["status"], "next_action" in ended) == (status, False)
    assert charge(gateway, key, "tok_3ds") == (answer, ended)
    assert press(url, next(one for one in ENDS if one != decision)).status == 303
    assert found(gateway, key) == [ended], "the first decision counts"
    assert "<button" not in POOL.request("GET", url).data.decode()


@pytest.mark.boots("a gateway simulator that is killed")
def test_without_a_decision_it_is_declined_after_a_while_also_after_a_kill(tmp_path):
    options = ["--latency-ms", "0", "--action-seconds", "1", "--public-url", "https://pay.example/"]
    with running("gateway", tmp_path, *options) as gateway:
        _, made = charge(gateway, "one", "tok_3ds")
        assert made["next_action"]["url"] == f"https://pay.example/3ds/{made['id']}"
        wait_until(lambda: found(gateway, "one")[0]["status"] == "declined")
        assert found(gateway, "one")[0]["failure"]["code"] == "authentication_expired"
        charge(gateway, "two", "tok_3ds")
        gateway.child.kill()
    with running("gateway", tmp_path, *options) as gateway:
        wait_until(lambda: found(gateway, "two")[0]["status"] == "declined")


@pytest.fixture(scope="module", autouse=True)
def nothing_inherited():
    """The simulators here are configured by their tests alone, not by what the suite runs in."""
    with patch.dict(os.environ):
        for name in ("EVENT_SECRET", "DATA_PLATFORM_FAILURE_RATE"):
            os.environ.pop(name, None)
        yield


def event(event_id: str | None = None, **more) -> dict[str, Any]:
    return {
        "id": event_id or str(uuid.uuid4()),
        "type": "order.paid",
        "occurred_at": "2026-01-02T03:04:05.678901Z",
        "data": {"order": "order-1", "card_amount": 1000, "items": [{"sku": "A", "quantity": 2}]},
        **more,
    }


def test_one_event_sent_50_times_at_once_is_stored_once(tmp_path):
    sent = event(data={"order": "at-once"})
    with serving("data_platform", tmp_path) as platform, ThreadPoolExecutor(50) as pool:
        answers = Counter(
            pool.map(lambda _: platform.post("/events", {"events": [sent]})[1]["repeated"], range(50))
        )
        assert answers == {0: 1, 1: 49}
        assert len(platform.get("/events", order="at-once")[1]["results"]) == 1


def test_a_webhook_is_kept_as_it_came(tmp_path):
    headers = {"webhook-id": "1", "webhook-timestamp": "1700000000", "webhook-signature": "v1,AAAA"}
    with serving("data_platform", tmp_path) as platform:
        assert platform.call("POST", "/hooks", body=b'{"type": "order.paid"} ', headers=headers)[0] == 202
        [kept] = platform.get("/hooks")[1]["results"]
    assert headers.items() <= kept["headers"].items() and kept["body"] == '{"type": "order.paid"} '


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENT_SECRET", "event secret")
    with serving("data_platform", tmp_path) as started:
        yield started


def signed(secret: str, body: bytes, *, seconds: float = 0) -> dict[str, str]:
    """The header as the contract words it, made without the simulator's own code."""
    moment = str(int(time.time() + seconds))
    digest = hmac.new(secret.encode(), moment.encode() + b"." + body, "sha256").hexdigest()
    return {"Firstcome-Signature": f"t={moment},v1={digest}"}


def test_with_a_secret_only_what_is_signed_with_it_is_taken(guarded):
    body = orjson.dumps({"events": [event("a")]})

    def status(headers, sent=body):
        return guarded.call("POST", "/events", body=sent, headers=headers)[0]

    right = signed("event secret", body)["Firstcome-Signature"]
    assert status({}) == 401
    assert status(signed("another secret", body)) == 401
    assert status(signed("event secret", body, seconds=-301)) == 401
    assert status(signed("event secret", body, seconds=330)) == 401
    assert status({"Firstcome-Signature": right}, body.replace(b'"a"', b'"b"')) == 401
    for broken in ("", "v1=", right[:-1], f"{right},v1=0", right.replace("t=", "t=1")):
        assert status({"Firstcome-Signature": broken}) == 401
    assert guarded.get("/summary")[1] == {"events": 0, "repeated": 0}
    assert status({"Firstcome-Signature": right}) == 202
    assert status(signed("event secret", body, seconds=-290)) == 202


@pytest.fixture
def _secret_of_webhooks(monkeypatch):
    monkeypatch.setenv("WEBHOOK_SECRET_SIMULATOR", "the secret of these tests")


@contextmanager
def listening(port=0) -> Iterator[CannedShop]:
    with canned_shop.running(port) as shop:
        shop.answer = lambda sent: Answer(200, {})
        yield shop


def calling(folder: Path, url: str, start=serving):
    return start("gateway", folder, "--latency-ms", "0", "--webhook-url", url)


def undelivered(gateway: Simulator) -> int:
    return sum(row["delivered_at"] is None for row in gateway.get("/webhooks")[1]["results"])


@pytest.mark.boots("a gateway simulator that is killed")
@pytest.mark.usefixtures("_secret_of_webhooks")
def test_what_a_shop_that_is_down_misses_is_sent_by_the_next_process(tmp_path):
    port = ports.free()
    url = f"http://{ports.HOST}:{port}/"
    with calling(tmp_path, url, running) as gateway:
        for number in range(3):
            charge(gateway, f"key-{number}", "tok_webhook")
        wait_until(lambda: undelivered(gateway) == 3)
        gateway.child.kill()
        gateway.child.wait()
    with listening(port) as listener, calling(tmp_path, url) as again:
        wait_until(lambda: undelivered(again) == 0)
    assert sorted(one.body["data"]["key"] for one in listener.sent) == ["key-0", "key-1", "key-2"]


@pytest.mark.boots("a gateway simulator that is killed")
@pytest.mark.usefixtures("_secret_of_webhooks")
def test_a_pending_charge_is_settled_and_sent_after_a_kill(tmp_path):
    with listening() as listener:
        with calling(tmp_path, listener.address, running) as gateway:
            charge(gateway, "key", "tok_webhook")
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


ANOTHER_ADDRESS = "127.0.0.2"
"""Of this machine as well, and not the one that simulators listen on by default."""


@pytest.mark.boots("simulators that are killed, signalled or refused")
def test_whatever_was_answered_before_a_kill_is_in_the_book(tmp_path):
    with running("gateway", tmp_path, "--latency-ms", "2") as gateway, ThreadPoolExecutor(16) as pool:
        charging = [pool.submit(charge, gateway, f"key-{number}", "tok_ok") for number in range(5000)]
        wait_until(lambda: gateway.get("/summary")[1]["charges"] > 200)
        gateway.child.kill()
        for one in charging:
            one.cancel()
    answered = [one.result()[1] for one in charging if not one.cancelled() and one.exception() is None]
    assert 100 < len(answered) < 5000
    with running("gateway", tmp_path) as again:
        book = {row["id"]: row for row in everything(again, "/charges")}
        assert [row for row in answered if book.get(row["id"]) != row] == []
        assert again.get("/summary")[1]["charged_amount"] == 1000 * len(book)


@pytest.mark.boots("simulators that are killed, signalled or refused")
@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
def test_a_signal_ends_it_promptly_without_an_answer_to_waiting_calls(tmp_path, signal):
    with running("gateway", tmp_path) as gateway, ThreadPoolExecutor() as pool:
        waiting = pool.submit(charge, gateway, "charged", "tok_timeout_charged")
        wait_until(lambda: bool(found(gateway, "charged")))
        gateway.child.send_signal(signal)
        assert gateway.child.wait(2) == 0
        assert isinstance(waiting.exception(), urllib3.exceptions.ProtocolError)
    log = gateway.log.read_text()
    assert f"running on http://127.0.0.1:{gateway.port} " in log and "ERROR" not in log


@pytest.mark.boots("simulators that are killed, signalled or refused")
@pytest.mark.parametrize("name", ["gateway", "data_platform", "partner"])
def test_a_simulator_listens_on_one_address_of_loopback_unless_host_opens_it_to_others(name, tmp_path):
    with running(name, tmp_path) as closed:
        assert not ports.answers((ANOTHER_ADDRESS, closed.port))
        words = ["--port", str(closed.port), "--book", str(tmp_path / "second.sqlite3")]
        command = [sys.executable, "-m", f"scripts.simulators.{name}", *words]
        second = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=20, check=False)
        assert second.returncode != 0
        assert f"('127.0.0.1', {closed.port}): address already in use" in second.stderr
    with running(name, tmp_path, "--host", "0.0.0.0") as opened:
        assert ports.answers((ANOTHER_ADDRESS, opened.port))
        assert f"running on http://0.0.0.0:{opened.port} " in opened.log.read_text()


@pytest.mark.boots("simulators that are killed, signalled or refused")
def test_no_simulator_loads_django():
    names = ", ".join(f"scripts.simulators.{one}" for one in ("gateway", "data_platform", "partner"))
    program = f"import sys, {names}; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
