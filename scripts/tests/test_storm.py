"""The instruments of `make chaos`: they repeat calls as the contract says, and they see what is wrong."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from scripts.storm import reckoning
from scripts.storm.calls import Answer, Call, Line, Observations, Unanswered
from scripts.storm.memory import Account, Deed, Shelf, Stage

ORDER = {"id": "o1", "status": "paid", "points_amount": 0, "card_amount": 900, "items": []}
PLACE = Call("POST", "/orders", "token", {"items": [], "payment": {"token": "tok_ok"}}, "key")


class Shop(ThreadingHTTPServer):
    """Gives the answers that it is told to, in their order; None breaks the connection off."""

    daemon_threads = True

    def __init__(self, answers: list[Answer | None]) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answers = answers
        self.asked: list[tuple[str, str]] = []


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Shop

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append((self.headers["Idempotency-Key"], body))
        answer = self.server.answers.pop(0)
        if answer is None:
            self.close_connection = True
            return
        content = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        if answer.retry_after:
            self.send_header("Retry-After", answer.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def seen() -> Observations:
    return Observations()


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop([]) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def insist(shop: Shop, seen: Observations, answers: list[Answer | None], *, seconds: float = 20) -> Answer:
    shop.answers = answers
    return Line(shop.server_port, seen, seed="1").insist(PLACE, until=time.monotonic() + seconds)


def test_a_call_is_repeated_with_its_key_until_its_answer_lasts(shop: Shop, seen: Observations) -> None:
    passing = [
        Answer(503, {"code": "unavailable"}),
        None,
        Answer(409, {"code": "idempotency_key_in_flight"}, retry_after="1"),
    ]
    assert insist(shop, seen, [*passing, Answer(201, ORDER)]) == Answer(201, ORDER)
    assert shop.asked == [("key", json.dumps(PLACE.body))] * 4
    assert seen.statuses["no answer"] == 1
    assert seen.findings == []


def test_a_refusal_lasts(shop: Shop, seen: Observations) -> None:
    refusal = Answer(409, {"code": "insufficient_stock"})
    assert insist(shop, seen, [refusal]) == refusal


def test_an_internal_error_is_a_finding_even_if_a_repeat_works(shop: Shop, seen: Observations) -> None:
    insist(shop, seen, [Answer(500, {"code": "internal_error"}), Answer(201, ORDER)])
    [finding] = seen.findings
    assert "500 internal_error" in finding


def test_a_call_without_a_lasting_answer_is_not_waited_for_without_end(
    shop: Shop, seen: Observations
) -> None:
    with pytest.raises(Unanswered, match="key key"):
        insist(shop, seen, [Answer(503, {"code": "unavailable"})] * 20, seconds=0.5)


class Books:
    """What the shop says in the end, in place of asking one."""

    def __init__(self) -> None:
        self.line = self
        self.placed: dict[str, Any] = {"o1": ORDER}
        self.issued: dict[str, Any] = {"C1": {"code": "C1", "campaign": 1, "position": 1}}
        self.balance = 70
        self.on_hand = 10
        self.charged_amount = 900
        self.events = Counter({"o1": 1})
        self.answer = Answer(201, ORDER, is_replay=True)

    def insist(self, call: Call, *, until: float) -> Answer:
        return self.answer

    def orders(self, account: Account) -> dict[str, Any]:
        return self.placed

    def coupons(self, account: Account) -> dict[str, Any]:
        return self.issued

    def wallet(self, account: Account) -> tuple[int, list[Any]]:
        return self.balance, [{"amount": self.balance}]

    def top_ups(self, account: Account) -> set[str]:
        return set()

    def get(self, path: str) -> Any:
        return {"/campaigns/1": {"issued": len(self.issued)}}.get(
            path, {"on_hand": self.on_hand, "reserved": 0}
        )

    def gateway(self, path: str) -> Any:
        return {"charged_amount": self.charged_amount, "refunded_amount": 0}

    def paid_orders_told(self) -> "Counter[str]":
        return self.events


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def stage() -> Stage:
    coupon = {"code": "C1", "campaign": 1, "position": 1}
    deeds = [
        Deed("order", PLACE, Answer(201, ORDER)),
        Deed("coupon", Call("POST", "/coupons", "token", {"campaign": 1}), Answer(201, coupon)),
    ]
    staff = Account(0, "staff")
    buyers = [Account(1, "token", 70, deeds)]
    return Stage(staff, buyers, campaigns=[1], shelves=[Shelf(5, 10)], plenty=Shelf(6, 10))


def test_a_shop_that_kept_its_word_has_nothing_to_answer_for(stage: Stage, books: Any) -> None:
    assert list(reckoning.findings(stage, books)) == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("placed", {}, "told, but not there"),
        ("placed", {"o1": ORDER, "o2": ORDER | {"id": "o2", "status": "expired"}}, "nobody was told"),
        ("placed", {"o1": ORDER | {"status": "payment_failed"}}, "told paid, is payment_failed"),
        ("placed", {"o1": ORDER | {"items": [{"product": 5, "quantity": 1}]}}, "asked for"),
        ("issued", {}, "told, but not there"),
        ("issued", {"C1": {"code": "C1", "campaign": 1, "position": 2}}, "position told 1, is 2"),
        ("balance", 71, "70 by its answers, holds 71"),
        ("on_hand", 9, "product 5: 10 on hand"),
        ("charged_amount", 1_800, "the answers come to 900"),
        ("events", Counter({"o1": 2}), "the data platform"),
        ("answer", Answer(201, ORDER), "first"),
        ("answer", Answer(201, ORDER | {"id": "o2"}, is_replay=True), "first"),
    ],
)
def test_a_word_that_was_not_kept_is_found(
    name: str, value: Any, says: str, stage: Stage, books: Any
) -> None:
    setattr(books, name, value)
    assert any(says in finding for finding in reckoning.findings(stage, books))


def test_a_position_given_twice_is_found(stage: Stage, books: Any) -> None:
    twin = {"code": "C2", "campaign": 1, "position": 1}
    call = Call("POST", "/coupons", "token", {"campaign": 1})
    stage.buyers[0].deeds.append(Deed("coupon", call, Answer(201, twin)))
    books.issued["C2"] = twin
    [finding] = reckoning.findings(stage, books)
    assert "position 1 was given 2 times" in finding
