"""The gateway simulator: what a card token ends in, a book that no race can bend, and its 3-D Secure page."""

import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3

from scripts.stack import ports
from scripts.tests.simulator import POOL, Simulator, everything, running, serving, wait_until

IMPATIENT = urllib3.Timeout(total=0.3)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with serving("gateway", tmp_path_factory.mktemp("gateway"), "--latency-ms", "0") as started:
        yield started


@pytest.fixture
def key() -> str:
    return f"key-{uuid.uuid4()}"


def asked(token: str, amount: int = 1000, order: str | None = "order-1") -> dict[str, Any]:
    return {"token": token, "amount": amount, "currency": "KRW", "order": order}


def charge(gateway: Simulator, key: str, token: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return gateway.post("/charges", asked(token, **more), key=key)


def found(gateway: Simulator, key: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = gateway.get("/charges", key=key)[1]["results"]
    return results


def gets_no_answer(gateway: Simulator, key: str, token: str) -> None:
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        gateway.post("/charges", asked(token), key=key, timeout=IMPATIENT)


# What each token ends in


def test_tok_slow_is_pending_for_two_seconds_then_charged_though_its_client_left_unless_it_is_cancelled(
    gateway: Simulator, key: str
) -> None:
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        first = pool.submit(charge, gateway, key, "tok_slow")
        cancelled = pool.submit(charge, gateway, f"{key}-cancelled", "tok_slow", amount=300)
        gets_no_answer(gateway, f"{key}-left", "tok_slow")
        [pending] = found(gateway, key)
        assert pending["status"] == found(gateway, f"{key}-left")[0]["status"] == "pending"
        assert charge(gateway, key, "tok_slow") == (202, pending)
        refund = {"charge": pending["id"], "amount": 1}
        assert gateway.post("/refunds", refund, key=key)[1]["code"] == "refund_exceeds_charge"
        status, ended = gateway.post("/charges/cancel", {"key": f"{key}-cancelled"})
        assert (status, ended["status"], ended["amount"]) == (200, "cancelled", 300)
        status, made = first.result()
        assert time.monotonic() - began >= 2
        refusal = cancelled.result()
    assert (status, made["status"]) == (201, "succeeded")
    assert charge(gateway, key, "tok_slow") == (201, made)
    assert (refusal[0], refusal[1]["code"], refusal[1]["charge"]) == (409, "key_cancelled", ended)
    assert found(gateway, f"{key}-cancelled") == [ended]
    wait_until(lambda: found(gateway, f"{key}-left")[0]["status"] == "succeeded")


def test_the_timeout_tokens_never_answer_and_one_of_them_is_charged(gateway: Simulator, key: str) -> None:
    for token, charges in (("tok_timeout_charged", 1), ("tok_timeout_lost", 0)):
        for _ in range(2):
            gets_no_answer(gateway, key + token, token)
            wait_until(lambda token=token, charges=charges: len(found(gateway, key + token)) == charges)
    assert found(gateway, f"{key}tok_timeout_charged")[0]["status"] == "succeeded"


# Keys


def test_a_key_with_another_body_is_refused(gateway: Simulator, key: str) -> None:
    made = charge(gateway, key, "tok_ok", amount=100)[1]
    for other in (asked("tok_ok", 101), asked("tok_slow", 100), asked("tok_ok", 100, order=None)):
        status, refusal = gateway.post("/charges", other, key=key)
        assert (status, refusal["code"]) == (422, "key_reused")
    assert found(gateway, key) == [made]


def test_a_cancelled_key_is_never_charged_and_what_is_charged_is_not_cancelled(
    gateway: Simulator, key: str
) -> None:
    for token in ("tok_ok", "tok_error", "tok_flaky", "tok_slow", "tok_timeout_lost"):
        status, cancelled = gateway.post("/charges/cancel", {"key": key + token})
        assert (status, cancelled["status"], cancelled["amount"]) == (200, "cancelled", 0)
        assert gateway.post("/charges/cancel", {"key": key + token}) == (200, cancelled)
        status, refusal = charge(gateway, key + token, token)
        assert (status, refusal["code"], refusal["charge"]) == (409, "key_cancelled", cancelled), token
        assert found(gateway, key + token) == [cancelled]
    made = charge(gateway, key, "tok_ok")[1]
    status, refusal = gateway.post("/charges/cancel", {"key": key})
    assert (status, refusal["code"], refusal["charge"]) == (409, "already_charged", made)


# Refunds


def test_refunds_never_exceed_the_charge(gateway: Simulator, key: str) -> None:
    made = charge(gateway, key, "tok_ok", amount=100)[1]

    def refund(number: int) -> int:
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


def test_a_repeated_refund_is_made_once(gateway: Simulator, key: str) -> None:
    made = charge(gateway, key, "tok_ok", amount=100)[1]
    asked_back = {"charge": made["id"], "amount": 60}
    status, first = gateway.post("/refunds", asked_back, key=key)
    assert (status, set(first)) == (201, {"id", "key", "charge", "amount", "status", "created_at"})
    assert {**first, **asked_back, "key": key, "status": "succeeded"} == first
    assert gateway.post("/refunds", asked_back, key=key) == (201, first)
    assert gateway.post("/refunds", {**asked_back, "amount": 1}, key=key)[1]["code"] == "key_reused"
    assert gateway.get("/refunds", key=key)[1]["results"] == [first]


# Lists and sums


def test_pages_of_a_filtered_list_go_on_after_the_id_in_next_and_end_with_what_was_added(
    gateway: Simulator, key: str
) -> None:
    order = str(uuid.uuid4())
    made = [charge(gateway, f"{key}-{number}", "tok_ok", order=order)[1] for number in range(3)]
    charge(gateway, f"{key}-of-another", "tok_ok", order=str(uuid.uuid4()))

    status, first = gateway.get("/charges", order=order, limit=2)
    made.append(charge(gateway, f"{key}-later", "tok_ok", order=order)[1])
    rest = gateway.get("/charges", order=order, limit=2, after=first["next"])[1]

    assert (status, first) == (200, {"results": made[:2], "next": made[1]["id"]})
    assert rest == {"results": made[2:], "next": None}


def test_a_list_without_pages_is_the_whole_book(tmp_path: Path) -> None:
    with serving("gateway", tmp_path, "--latency-ms", "0") as gateway:
        with closing(sqlite3.connect(tmp_path / "book.sqlite3")) as book, book:
            book.executemany(
                "INSERT INTO charges (id, key, token, amount, currency, status, created_at)"
                " VALUES (?, ?, 'tok_ok', 1, 'KRW', 'succeeded', '2026-01-01T00:00:00Z')",
                [(f"ch_{number}", f"key-{number}") for number in range(10_500)],
            )
        status, whole = gateway.get("/charges")
        assert (status, list(whole), len(whole["results"])) == (200, ["results"], 10_500)
        keys = [row["key"] for row in everything(gateway, "/charges", limit=4_000)]
        assert keys == [f"key-{number}" for number in range(10_500)], "pages walk it oldest first"


# Bad input


def test_a_bad_query_is_refused_rather_than_listing_all(gateway: Simulator) -> None:
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


def charge_3ds(gateway: Simulator, key: str, **more: Any) -> tuple[int, dict[str, Any]]:
    fields = {"token": "tok_3ds", "amount": 1_500, "currency": "KRW", "order": "order-1"} | more
    return gateway.post("/charges", fields, key=key)


def the_charge(gateway: Simulator, key: str) -> dict[str, Any]:
    [row] = gateway.get("/charges", key=key)[1]["results"]
    return dict(row)


def get(url: str) -> Any:
    return POOL.request("GET", url)


def press(url: str, decision: str) -> Any:
    return POOL.request("POST", url, fields={"decision": decision}, encode_multipart=False, redirect=False)


def test_the_charge_is_pending_with_the_page_of_its_owner(gateway: Simulator, key: str) -> None:
    status, made = charge_3ds(gateway, key)
    assert (status, made["status"]) == (202, "pending")
    url = f"http://{ports.HOST}:{gateway.port}/3ds/{made['id']}"
    assert made["next_action"] == {"type": "redirect", "url": url}
    assert the_charge(gateway, key) == made
    assert charge_3ds(gateway, key) == (202, made)


@pytest.mark.parametrize("decision", ENDS)
def test_a_button_ends_the_charge_once_and_leads_to_its_result(
    decision: str, gateway: Simulator, key: str
) -> None:
    _, made = charge_3ds(gateway, key, return_url="https://shop.example/orders/1")
    url = made["next_action"]["url"]
    pressed = press(url, decision)
    assert (pressed.status, pressed.headers["location"]) == (303, f"/3ds/{made['id']}")
    ended = the_charge(gateway, key)
    status, answer = ENDS[decision]
    assert (ended["status"], "next_action" in ended) == (status, False)
    assert charge_3ds(gateway, key, return_url="https://shop.example/orders/1") == (answer, ended)
    other = next(one for one in ENDS if one != decision)
    assert press(url, other).status == 303
    assert the_charge(gateway, key) == ended, "the first decision counts"
    text = get(url).data.decode()
    assert "<button" not in text
    assert '<a href="https://shop.example/orders/1">Back to the shop</a>' in text


def test_a_cancelled_charge_can_not_be_approved_any_more(gateway: Simulator, key: str) -> None:
    url = charge_3ds(gateway, key)[1]["next_action"]["url"]
    assert gateway.post("/charges/cancel", {"key": key})[1]["status"] == "cancelled"
    assert press(url, "approve").status == 303
    assert the_charge(gateway, key)["status"] == "cancelled"
    assert "has cancelled the payment" in get(url).data.decode()


@pytest.mark.boots("a gateway simulator that is killed")
def test_without_a_decision_it_is_declined_after_a_while_also_after_a_kill(tmp_path: Path) -> None:
    options = ["--latency-ms", "0", "--action-seconds", "1", "--public-url", "https://pay.example/"]
    with running("gateway", tmp_path, *options) as gateway:
        _, made = charge_3ds(gateway, "one")
        assert made["next_action"]["url"] == f"https://pay.example/3ds/{made['id']}"
        wait_until(lambda: the_charge(gateway, "one")["status"] == "declined")
        assert the_charge(gateway, "one")["failure"]["code"] == "authentication_expired"
        charge_3ds(gateway, "two")
        gateway.child.kill()
    with running("gateway", tmp_path, *options) as gateway:
        wait_until(lambda: the_charge(gateway, "two")["status"] == "declined")
