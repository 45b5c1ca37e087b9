"""The gateway simulator: a book that no race can bend, and its 3-D Secure page.

What the cards of its tokens do is in payments/tests/test_gateway_contract.py.
"""

import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from scripts.tests.simulator import POOL, Simulator, everything, running, serving, wait_until


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with serving("gateway", tmp_path_factory.mktemp("gateway"), "--latency-ms", "0") as started:
        yield started


@pytest.fixture
def key() -> str:
    return f"key-{uuid.uuid4()}"


def charge(gateway: Simulator, key: str, token: str, **more: Any) -> tuple[int, dict[str, Any]]:
    asked = {"token": token, "amount": 1000, "currency": "KRW", "order": "order-1"} | more
    return gateway.post("/charges", asked, key=key)


def found(gateway: Simulator, key: str) -> list[dict[str, Any]]:
    return gateway.get("/charges", key=key)[1]["results"]


def test_refunds_never_exceed_the_charge(gateway, key):
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


def test_pages_of_a_filtered_list_go_on_after_the_id_in_next_and_end_with_what_was_added(gateway, key):
    order = str(uuid.uuid4())
    made = [charge(gateway, f"{key}-{number}", "tok_ok", order=order)[1] for number in range(3)]
    charge(gateway, f"{key}-of-another", "tok_ok", order=str(uuid.uuid4()))

    status, first = gateway.get("/charges", order=order, limit=2)
    made.append(charge(gateway, f"{key}-later", "tok_ok", order=order)[1])
    rest = gateway.get("/charges", order=order, limit=2, after=first["next"])[1]

    assert (status, first) == (200, {"results": made[:2], "next": made[1]["id"]})
    assert rest == {"results": made[2:], "next": None}


def test_a_list_without_pages_is_the_whole_book(tmp_path):
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


def press(url: str, decision: str) -> Any:
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
    other = next(one for one in ENDS if one != decision)
    assert press(url, other).status == 303
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
