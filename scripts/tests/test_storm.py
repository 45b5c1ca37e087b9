"""The instruments of `make chaos` and `make soak`: calls repeated by the contract, eyes for what is wrong."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from scripts.chaos import outside, reckoning
from scripts.chaos.calls import Answer, Call, Line, Observations, Unanswered
from scripts.chaos.echoes import Echo
from scripts.chaos.memory import Account, Deed, Shelf, Stage
from scripts.stack.instance import Instance

ORDER = {
    "id": "o1",
    "status": "paid",
    "points_amount": 0,
    "card_amount": 900,
    "refunded_amount": 0,
    "coupon": None,
    "items": [],
}
COUPON = {"code": "C1", "campaign": 1, "position": 1, "status": "issued"}
CHARGE = {"order": "o1", "status": "succeeded", "amount": 900, "refunded_amount": 0}
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


@pytest.mark.parametrize(
    ("deed", "answer", "says"),
    [
        ("twist", Answer(200, {}), None),
        ("twist", Answer(503, {"code": "unavailable"}), None),
        ("twist", Answer(404, {}), "answered 404 instead of 200"),
        ("twist", Answer(500, {"code": "internal_error"}), "answered 500 instead of 200"),
        ("repeat", Answer(200, {}), None),
        ("repeat", Answer(400, {"code": "signature_invalid"}), "answered 400 instead of 200"),
        ("forge", Answer(400, {"code": "signature_invalid"}), None),
        ("forge", Answer(200, {}), "answered 200 instead of 400"),
    ],
)
def test_a_webhook_has_to_be_answered_by_its_signature_alone(
    deed: str, answer: Answer, says: str | None, shop: Shop, seen: Observations, tmp_path: Path
) -> None:
    echo = Echo(Instance(home=tmp_path, port=shop.server_port, database="sqlite"), seed="1", seen=seen)
    charge = CHARGE | {"id": "ch_1", "key": "k", "currency": "KRW", "created_at": "2026-01-01T00:00:00Z"}
    echo.charges, echo.webhooks = (
        [charge],
        [{"id": "evt_1", "type": "charge.succeeded", "delivered_at": None}],
    )
    shop.answers = [answer]
    getattr(echo, deed)()
    assert [says in finding for finding in seen.findings if says] == [True] * bool(says)
    assert len(seen.findings) == bool(says)
    assert "delivered_at" not in json.loads(shop.asked[0][1])


class Books:
    """What the shop says in the end, in place of asking one."""

    def __init__(self) -> None:
        self.line = self
        self.placed: dict[str, Any] = {"o1": ORDER}
        self.issued: dict[str, Any] = {"C1": COUPON}
        self.balance = 70
        self.on_hand = 10
        self.charges = [CHARGE]
        self.told = ["order.paid"]
        self.given_back: list[Any] = []
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
        if path == "/charges":
            return {"results": self.charges}
        amounts = ("amount", "refunded_amount")
        charged, refunded = (sum(charge[name] for charge in self.charges) for name in amounts)
        return {"charged_amount": charged, "refunded_amount": refunded}

    def events(self) -> list[Any]:
        return [{"type": kind, "data": {"order": "o1"}} for kind in self.told]

    def refunds(self, order_id: str) -> list[Any]:
        return self.given_back


def findings(stage: Stage, books: Any) -> list[str]:
    return [*reckoning.findings(stage, books), *outside.findings(stage, books)]


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def stage() -> Stage:
    deeds = [
        Deed("order", PLACE, Answer(201, ORDER)),
        Deed("coupon", Call("POST", "/coupons", "token", {"campaign": 1}), Answer(201, COUPON)),
    ]
    staff = Account(0, "staff")
    buyers = [Account(1, "token", 70, deeds)]
    return Stage(staff, buyers, campaigns=[1], shelves=[Shelf(5, 10)], plenty=Shelf(6, 10))


def test_a_shop_that_kept_its_word_has_nothing_to_answer_for(stage: Stage, books: Any) -> None:
    assert findings(stage, books) == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("placed", {}, "told, but not there"),
        ("placed", {"o1": ORDER, "o2": ORDER | {"id": "o2", "status": "expired"}}, "nobody was told"),
        ("placed", {"o1": ORDER | {"status": "payment_failed"}}, "told paid or refunded, is payment_failed"),
        ("placed", {"o1": ORDER | {"status": "refunded"}}, "is refunded"),
        ("placed", {"o1": ORDER | {"refunded_amount": 1}}, "are not the 1 it says"),
        ("placed", {"o1": ORDER | {"items": [{"product": 5, "quantity": 1}]}}, "asked for"),
        ("issued", {}, "told, but not there"),
        ("issued", {"C1": COUPON | {"position": 2}}, "position told 1, is 2"),
        ("issued", {"C1": COUPON | {"status": "redeemed"}}, "0 paid orders have it, and it is redeemed"),
        ("placed", {"o1": ORDER | {"coupon": "C1"}}, "1 paid orders have it, and it is issued"),
        ("balance", 71, "70 by its answers, holds 71"),
        ("on_hand", 9, "product 5: 10 on hand"),
        ("charges", [CHARGE | {"amount": 1_800}], "order o1: the gateway holds 1800, due are 900"),
        ("charges", [CHARGE | {"amount": 1_800}], "the answers come to 900"),
        ("charges", [CHARGE | {"refunded_amount": 1}], "holds 899"),
        ("charges", [CHARGE, CHARGE | {"refunded_amount": 900}], "charged 2 times instead of 1"),
        ("charges", [CHARGE, CHARGE | {"order": "o2"}], "order o2: the gateway holds 900"),
        ("charges", [CHARGE, CHARGE | {"order": None}], "order None: the gateway holds 900"),
        ("told", [], "the data platform was told []"),
        ("told", ["order.paid", "order.paid"], "the data platform was told"),
        ("told", ["order.paid", "order.refunded"], "the data platform was told"),
        ("answer", Answer(201, ORDER), "first"),
        ("answer", Answer(201, ORDER | {"id": "o2"}, is_replay=True), "first"),
    ],
)
def test_a_word_that_was_not_kept_is_found(
    name: str, value: Any, says: str, stage: Stage, books: Any
) -> None:
    setattr(books, name, value)
    assert any(says in finding for finding in findings(stage, books))


def test_a_position_given_twice_is_found(stage: Stage, books: Any) -> None:
    twin = COUPON | {"code": "C2"}
    call = Call("POST", "/coupons", "token", {"campaign": 1})
    stage.buyers[0].deeds.append(Deed("coupon", call, Answer(201, twin)))
    books.issued["C2"] = twin
    [finding] = findings(stage, books)
    assert "position 1 was given 2 times" in finding


REFUND = {
    "id": "r1",
    "order": "o1",
    "status": "succeeded",
    "amount": 300,
    "points_amount": 100,
    "card_amount": 200,
    "items": [{"product": 5, "quantity": 1}],
    "restock": True,
}


@pytest.fixture
def refunded(stage: Stage, books: Books) -> Books:
    """One of two pieces came back, and was put back on its shelf."""
    items = [{"product": 5, "quantity": 2}]
    placed = ORDER | {"items": items, "points_amount": 150, "refunded_amount": 300}
    call = Call("POST", "/orders", "token", {"items": items, "payment": {"token": "tok_ok"}}, "key")
    books.answer = Answer(201, ORDER | {"items": items}, is_replay=True)
    stage.buyers[0].deeds[0] = Deed("order", call, Answer(201, books.answer.body))
    ask = Call("POST", "/orders/o1/refunds", "staff", {"reason": "came back", "restock": True})
    stage.staff.deeds.append(Deed("refund", ask, Answer(202, REFUND | {"status": "pending"})))
    books.placed = {"o1": placed}
    books.given_back = [REFUND]
    books.balance = 70 - 150 + 100
    books.on_hand = 10 - 2 + 1
    books.charges = [CHARGE | {"refunded_amount": 200}]
    books.told = ["order.paid", "order.refunded"]
    # Product 6 was in no order.
    stage.plenty.on_hand = books.on_hand
    return books


def test_a_refund_that_gave_back_what_it_said_is_no_finding(stage: Stage, refunded: Books) -> None:
    assert findings(stage, refunded) == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("given_back", [], "refunds of order o1: told ['r1']"),
        ("given_back", [REFUND, REFUND | {"id": "r2"}], "refunds of order o1: told ['r1']"),
        ("given_back", [REFUND | {"status": "stuck"}], "not all have succeeded"),
        ("given_back", [REFUND | {"card_amount": 300}], "are not the 300 it says"),
        ("given_back", [REFUND | {"points_amount": 200, "card_amount": 100}], "are left"),
        ("given_back", [REFUND | {"items": [{"product": 5, "quantity": 3}]}], "more was given back"),
        ("balance", -80, "20 by its answers, holds -80"),
        ("on_hand", 8, "product 5: 9 on hand"),
        ("charges", [CHARGE], "holds 900, due are 700"),
        ("told", ["order.refunded", "order.paid"], "the data platform was told"),
        ("told", ["order.paid"], "the data platform was told"),
    ],
)
def test_a_refund_that_went_wrong_is_found(
    name: str, value: Any, says: str, stage: Stage, refunded: Books
) -> None:
    setattr(refunded, name, value)
    assert any(says in finding for finding in findings(stage, refunded))


def test_a_refund_that_was_accepted_is_not_waited_for_by_its_call() -> None:
    accepted = Answer(202, REFUND)
    refund = Deed("refund", Call("POST", "/orders/o1/refunds", "staff"), accepted)
    assert (refund.is_open, refund.was_done) == (False, True)
    payment = Deed("payment", Call("POST", "/payments", "token"), accepted)
    assert (payment.is_open, payment.was_done) == (True, False)
