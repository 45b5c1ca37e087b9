"""The instruments of `make chaos` and `make soak`: repeated calls, and checks that find errors."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.chaos import comparison, outside
from lab.chaos.calls import Answer, Call, Connection, Observations
from lab.chaos.memory import Account, AtGateway, Drop, Product, RecordedCall, Setup
from lab.chaos.webhooks import WebhookSender
from scripts.stack.instance import Instance
from scripts.tests import canned_shop
from scripts.tests.canned_shop import CannedShop, problem
from shop.tests.case_tables import in_one_test

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


@pytest.fixture
def shop() -> Iterator[CannedShop]:
    with canned_shop.running() as server:
        yield server


@in_one_test(
    ("answer", "says"),
    [
        (problem(503, "overloaded"), "503 overloaded without Retry-After"),
        (problem(500, "internal_error"), "500 internal_error"),
    ],
)
def test_an_answer_that_must_not_be_is_a_finding_even_if_a_repeat_works(
    answer: canned_shop.Answer, says: str, shop: CannedShop
) -> None:
    seen = Observations()
    shop.queue(answer, canned_shop.Answer(201, ORDER))
    Connection(shop.port, seen, seed="1").call_until_final(PLACE, until=time.monotonic() + 20)
    [finding] = seen.findings
    assert says in finding


OK, WRONG = canned_shop.Answer(200, {}), problem(400, "signature_invalid")


@in_one_test(
    ("action", "answer", "says"),
    [
        ("send_untrue", OK, ""),
        ("send_untrue", problem(500, "internal_error"), "answered 500 instead of 200"),
        ("repeat", OK, ""),
        ("repeat", WRONG, "answered 400 instead of 200"),
        ("send_forged", WRONG, ""),
        ("send_forged", OK, "answered 200 instead of 400"),
    ],
)
def test_a_webhook_has_to_be_answered_by_its_signature_alone(
    action: str, answer: canned_shop.Answer, says: str, shop: CannedShop, tmp_path: Path
) -> None:
    seen = Observations()
    shop.sent.clear()
    sender = WebhookSender(Instance(home=tmp_path, port=shop.port, database="sqlite"), seed="1", seen=seen)
    charge = CHARGE | {"id": "ch_1", "key": "k", "currency": "KRW", "created_at": "2026-01-01T00:00:00Z"}
    webhook = {"id": "evt_1", "type": "charge.succeeded", "delivered_at": None, "is_given_up": False}
    sender.charges, sender.webhooks = [charge], [webhook]
    shop.queue(answer)
    getattr(sender, action)()
    assert [says in finding for finding in seen.findings if says] == [True] * bool(says)
    assert len(seen.findings) == bool(says)
    assert "delivered_at" not in shop.sent[0].body


ENTRY = {"id": "e1", "sale": 3, "status": "used"}


class Books:
    """What the shop shows in the end, in place of a real one."""

    def __init__(self) -> None:
        self.connection = self
        self.placed: dict[str, Any] = {"o1": ORDER}
        self.issued: dict[str, Any] = {"C1": COUPON}
        self.balance = 70
        self.on_hand = 10
        self.charges = [CHARGE]
        self.delivered = ["order.paid"]
        self.entry = ENTRY
        self.refunds_shown: list[Any] = []
        self.answer = Answer(201, ORDER, is_replay=True)

    def call_until_final(self, call: Call, *, until: float) -> Answer:
        return self.answer

    def orders(self, account: Account) -> dict[str, Any]:
        return self.placed

    def coupons(self, account: Account) -> dict[str, Any]:
        return self.issued

    def wallet(self, account: Account) -> tuple[int, list[Any]]:
        return self.balance, [{"amount": self.balance}]

    def top_ups(self, account: Account) -> set[str]:
        return set()

    def get(self, path: str, token: str = "") -> Any:
        found = {"/campaigns/1": {"issued": len(self.issued)}, "/sale-entries/e1": self.entry}
        return found.get(path, {"on_hand": self.on_hand, "reserved": 0})

    def gateway(self, path: str) -> Any:
        if path == "/charges":
            return {"results": self.charges}
        amounts = ("amount", "refunded_amount")
        taken = [charge for charge in self.charges if charge["status"] == "succeeded"]
        charged, refunded = (sum(charge[name] for charge in taken) for name in amounts)
        return {"charged_amount": charged, "refunded_amount": refunded}

    def events(self) -> list[Any]:
        return [{"type": kind, "data": {"order": "o1"}} for kind in self.delivered]

    def refunds(self, order_id: str) -> list[Any]:
        return self.refunds_shown


def findings(setup: Setup, books: Any) -> list[str]:
    return [*comparison.findings(setup, books), *outside.findings(setup, books)]


def a_setup() -> Setup:
    calls = [
        RecordedCall("order", PLACE, Answer(201, ORDER)),
        RecordedCall("coupon", Call("POST", "/coupons", "token", {"campaign": 1}), Answer(201, COUPON)),
    ]
    staff = Account(0, "staff")
    buyers = [Account(1, "token", 70, calls)]
    return Setup(staff, buyers, campaigns=[1], products=[Product(5, 10)], ample=Product(6, 10))


def test_a_shop_whose_answers_all_hold_has_no_findings() -> None:
    assert findings(a_setup(), Books()) == []
    setup, shared = a_setup(), Books()
    # A coupon that an order was given for the shared code.
    order = ORDER | {"status": "expired", "coupon": "C2"}
    call = Call("POST", "/orders", "token", {"items": [], "coupon": "TO-ALL"}, "")
    setup.buyers[0].calls.append(RecordedCall("order", call, Answer(201, order | {"id": "o2"})))
    setup.buyers[0].shared_codes = {"TO-ALL": 1}
    shared.placed["o2"], shared.issued["C2"] = order | {"id": "o2"}, COUPON | {"code": "C2", "position": 2}
    assert findings(setup, shared) == []


@in_one_test(
    ("name", "value", "says"),
    [
        ("placed", {}, "answered, but not there"),
        ("placed", {"o1": ORDER, "o2": ORDER | {"id": "o2", "status": "expired"}}, "never answered"),
        (
            "placed",
            {"o1": ORDER | {"status": "payment_failed"}},
            "answered paid or refunded, is payment_failed",
        ),
        ("placed", {"o1": ORDER | {"status": "refunded"}}, "is refunded"),
        ("placed", {"o1": ORDER | {"refunded_amount": 1}}, "are not the 1 it says"),
        ("placed", {"o1": ORDER | {"items": [{"product": 5, "quantity": 1}]}}, "asked for"),
        ("issued", {}, "answered, but not there"),
        ("issued", {"C1": COUPON | {"position": 2}}, "position answered 1, is 2"),
        ("issued", {"C1": COUPON | {"status": "redeemed"}}, "0 paid orders have it, and it is redeemed"),
        ("balance", 71, "70 by its answers, holds 71"),
        ("on_hand", 9, "product 5: 10 on hand"),
        ("charges", [CHARGE | {"amount": 1_800}], "order o1: the gateway holds 1800, due are 900"),
        ("charges", [CHARGE | {"amount": 1_800}], "the answers come to 900"),
        ("charges", [CHARGE, CHARGE | {"refunded_amount": 900}], "charged 2 times instead of 1"),
        ("charges", [CHARGE, CHARGE | {"order": None}], "order None: the gateway holds 900"),
        ("delivered", [], "the data platform got []"),
        ("delivered", ["order.paid", "order.paid"], "the data platform got"),
        ("answer", Answer(201, ORDER), "first"),
        ("answer", Answer(201, ORDER | {"id": "o2"}, is_replay=True), "first"),
    ],
)
def test_an_answer_that_does_not_hold_is_found(name: str, value: Any, says: str) -> None:
    books = Books()
    setattr(books, name, value)
    assert any(says in finding for finding in findings(a_setup(), books))


@in_one_test(
    ("shown", "says"),
    [
        (ENTRY, ""),
        (ENTRY | {"sale": 4}, "entry e1 of account 1"),
        (ENTRY | {"status": "expired"}, "entry e1 of account 1"),
        (ENTRY | {"status": "admitted"}, "0 entries are used, and 1 orders are of the sale"),
    ],
)
def test_an_entry_is_used_by_each_order_of_the_sale(shown: dict[str, Any], says: str) -> None:
    setup, books = a_setup(), Books()
    setup.drop = Drop(3, Product(7, 0))
    placed = {"o1": ORDER | {"items": [{"product": 7, "quantity": 1}]}}
    join = Call("POST", "/sales/3/entries", "token")
    setup.buyers[0].calls.append(RecordedCall("entry", join, Answer(202, ENTRY | {"status": "waiting"})))
    books.entry = shown
    found = list(comparison._entries(setup.buyers[0], setup, placed, books))
    assert any(says in finding for finding in found) is bool(says)


def test_a_position_issued_twice_and_a_coupon_of_an_account_that_is_not_listed_are_found() -> None:
    setup, books = a_setup(), Books()
    twin = COUPON | {"code": "C2"}
    call = Call("POST", "/coupons", "token", {"campaign": 1})
    setup.buyers[0].calls.append(RecordedCall("coupon", call, Answer(201, twin)))
    books.issued["C2"] = twin
    [finding] = findings(setup, books)
    assert "position 1 was issued 2 times" in finding
    setup.listed = {1: {9}}
    assert "account 1, listed: False, was answered 201" in findings(setup, books)


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


def refunded() -> tuple[Setup, Books]:
    """One of two pieces was returned and restocked."""
    setup, books = a_setup(), Books()
    items = [{"product": 5, "quantity": 2}]
    placed = ORDER | {"items": items, "points_amount": 150, "refunded_amount": 300}
    call = Call("POST", "/orders", "token", {"items": items, "payment": {"token": "tok_ok"}}, "key")
    books.answer = Answer(201, ORDER | {"items": items}, is_replay=True)
    setup.buyers[0].calls[0] = RecordedCall("order", call, Answer(201, books.answer.body))
    ask = Call("POST", "/orders/o1/refunds", "staff", {"reason": "came back", "restock": True})
    setup.staff.calls.append(RecordedCall("refund", ask, Answer(202, REFUND | {"status": "pending"})))
    books.placed = {"o1": placed}
    books.refunds_shown = [REFUND]
    books.balance = 70 - 150 + 100
    books.on_hand = 10 - 2 + 1
    books.charges = [CHARGE | {"refunded_amount": 200}]
    books.delivered = ["order.paid", "order.refunded"]
    # Product 6 was in no order.
    setup.ample.on_hand = books.on_hand
    return setup, books


def given_back() -> tuple[Setup, Books]:
    """Of the card's 900 the gateway gave 150 back, and 50 were lost in a dispute."""
    setup, books = a_setup(), Books()
    made = REFUND | {"source": "gateway", "amount": 150, "points_amount": 0, "card_amount": 150, "items": []}
    setup.at_gateway = {"o1": AtGateway(refunded_amount=150, lost_amount=50)}
    setup.shown_refunds = {"o1": [made]}
    books.placed = {"o1": ORDER | {"refunded_amount": 150}}
    books.refunds_shown = [made]
    lost = [{"status": "lost", "amount": 50}, {"status": "won", "amount": 20}]
    books.charges = [CHARGE | {"refunded_amount": 150, "disputes": lost}]
    books.delivered = ["order.paid", "order.refunded"]
    return setup, books


def test_what_began_at_the_gateway_is_no_finding_once_it_is_booked() -> None:
    assert findings(*given_back()) == []
    setup, books = given_back()
    books.charges[0]["disputes"].pop(0)
    assert any("the gateway holds" in finding for finding in findings(setup, books))
    setup, books = given_back()
    setup.shown_refunds = {"o1": []}
    assert any("refunds of order o1" in finding for finding in findings(setup, books))


@in_one_test(
    ("name", "value", "says"),
    [
        ("delivered", ["order.paid", "order.refunded"], ""),
        ("refunds_shown", [], "refunds of order o1: answered ['r1']"),
        ("refunds_shown", [REFUND | {"status": "stuck"}], "not all have succeeded"),
        ("refunds_shown", [REFUND | {"points_amount": 200, "card_amount": 100}], "are left"),
        ("refunds_shown", [REFUND | {"items": [{"product": 5, "quantity": 3}]}], "more was refunded"),
        ("refunds_shown", [REFUND | {"card_amount": 300}], "are not the 300 it says"),
        ("charges", [CHARGE], "holds 900, due are 700"),
        ("balance", -80, "20 by its answers, holds -80"),
        ("on_hand", 8, "product 5: 9 on hand"),
        ("delivered", ["order.refunded", "order.paid"], "the data platform got"),
    ],
)
def test_a_refund_that_went_wrong_is_found(name: str, value: Any, says: str) -> None:
    setup, books = refunded()
    setattr(books, name, value)
    found = findings(setup, books)
    assert any(says in finding for finding in found) if says else found == []
