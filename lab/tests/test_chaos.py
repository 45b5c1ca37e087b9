"""The book of all answers: each planted error is found, and nothing else."""

import time
from typing import Any

from foundation.tests.case_tables import in_one_test
from lab.calls import Account, Answer, Call, Connection, Observations, Product, RecordedCall, Setup
from lab.chaos import comparison
from scripts.tests import canned_shop
from scripts.tests.canned_shop import problem

ORDER = {"id": "o1", "status": "paid", "points_amount": 0, "card_amount": 900, "refunded_amount": 0}
ORDER |= {"coupon": None, "items": []}
COUPON = {"code": "C1", "campaign": 1, "position": 1, "status": "issued"}
CHARGE = {"id": "ch_1", "order": "o1", "status": "succeeded", "amount": 900, "refunded_amount": 0}
PLACE = Call("POST", "/orders", "token", {"items": [], "payment": {"token": "tok_ok"}}, "key")
UNITS = {"items": [{"product": 5, "quantity": 2}]}
REFUND = {"id": "r1", "order": "o1", "status": "succeeded", "amount": 300, "points_amount": 100}
REFUND |= {"card_amount": 200, "items": [{"product": 5, "quantity": 1}], "restock": True}


@in_one_test(
    ("answer", "says"),
    [
        (problem(503, "overloaded"), "503 overloaded without Retry-After"),
        (problem(500, "internal_error"), "500 internal_error"),
    ],
)
def test_an_answer_that_must_not_be_is_a_finding_even_if_a_repeat_works(answer, says):
    seen = Observations()
    with canned_shop.running() as shop:
        shop.queue(answer, canned_shop.Answer(201, ORDER))
        Connection(shop.port, seen, seed="1").call_until_final(PLACE, until=time.monotonic() + 20)
    [finding] = seen.findings
    assert says in finding


class Books:
    """What the shop shows in the end, in place of a real one."""

    def __init__(self):
        self.connection = self
        self.placed: dict[str, Any] = {"o1": ORDER}
        self.issued: dict[str, Any] = {"C1": COUPON}
        self.points = 70
        self.on_hand = 10
        self.charges: list[Any] = [CHARGE]
        self.delivered = ["order.paid"]
        self.answer = Answer(201, ORDER, is_replay=True)
        self.paid_top_ups: set[str] = set()

    def call_until_final(self, call, *, until: float) -> Answer:
        return self.answer

    def orders(self, account) -> dict[str, Any]:
        return self.placed

    def coupons(self, account) -> dict[str, Any]:
        return self.issued

    def balance(self, account) -> int:
        return self.points

    def top_ups(self, account) -> set[str]:
        return self.paid_top_ups

    def get(self, path: str, token=""):
        return {"on_hand": self.on_hand, "reserved": 0}

    def gateway(self, path: str):
        return {"results": self.charges}

    def events(self) -> list[Any]:
        return [{"type": kind, "data": {"order": "o1"}} for kind in self.delivered]


def require(found: list[str], says: str):
    """One of the findings says that, or there is none where nothing is to be said."""
    assert any(says in finding for finding in found) if says else found == []


def bought() -> tuple[Setup, Books]:
    calls = [
        RecordedCall("order", PLACE, Answer(201, ORDER)),
        RecordedCall("coupon", Call("POST", "/coupons", "token", {"campaign": 1}), Answer(201, COUPON)),
    ]
    buyers = [Account(1, "token", 70, calls)]
    setup = Setup(Account(0, "staff"), buyers, campaigns=[1], products=[Product(5, 10)], ample=Product(6, 10))
    return setup, Books()


def refunded() -> tuple[Setup, Books]:
    """One of two pieces was returned and restocked."""
    setup, books = bought()
    order = ORDER | UNITS
    call = Call("POST", "/orders", "token", UNITS | {"payment": {"token": "tok_ok"}}, "key")
    books.answer = Answer(201, order, is_replay=True)
    setup.buyers[0].calls[0] = RecordedCall("order", call, Answer(201, order))
    ask = Call("POST", "/orders/o1/refunds", "staff", {"reason": "came back", "restock": True})
    setup.staff.calls.append(RecordedCall("refund", ask, Answer(202, REFUND | {"status": "pending"})))
    books.placed = {"o1": order | {"points_amount": 150, "refunded_amount": 300}}
    books.charges = [CHARGE | {"refunded_amount": 200}]
    books.points, books.on_hand = 70 - 150 + 100, 10 - 2 + 1
    books.delivered = ["order.paid", "order.refunded"]
    # Product 6 was in no order.
    setup.ample.on_hand = books.on_hand
    return setup, books


@in_one_test(
    ("make", "name", "value", "says"),
    [
        (bought, "points", 70, ""),
        (bought, "placed", {}, "order o1: items: [] by the answers, is None"),
        (
            bought,
            "placed",
            {"o1": ORDER, "o2": ORDER | {"id": "o2", "status": "expired"}},
            "order o2: items: None by the answers, is []",
        ),
        (bought, "placed", {"o1": ORDER | {"status": "payment_failed"}}, "by the answers, is payment_failed"),
        (bought, "placed", {"o1": ORDER | {"status": "paying"}}, "by the answers, is paying"),
        (bought, "placed", {"o1": ORDER | UNITS}, "order o1: items: [] by the answers, is [(5, 2)]"),
        (bought, "issued", {}, "coupon C1: (1, 1, 'issued') by the answers, is None"),
        (bought, "issued", {"C1": COUPON, "C2": COUPON}, "coupon C2: None by the answers"),
        (bought, "issued", {"C1": COUPON | {"position": 2}}, "'issued') by the answers, is (1, 2, 'issued')"),
        (bought, "issued", {"C1": COUPON | {"status": "redeemed"}}, "is (1, 1, 'redeemed')"),
        (bought, "paid_top_ups", {"p9"}, "top-up of 1: p9: None by the answers, is True"),
        (bought, "points", 71, "wallet of 1: 70 by the answers, is 71"),
        (bought, "on_hand", 9, "product 5: on hand and reserved: (10, 0)"),
        (bought, "charges", [CHARGE | {"amount": 1_800}], "order o1: the gateway holds 1800, due are 900"),
        (bought, "charges", [CHARGE, CHARGE | {"refunded_amount": 900}], "charged 2 times instead of 1"),
        (bought, "charges", [CHARGE, CHARGE | {"order": None}], "order None: the gateway holds 900"),
        (bought, "charges", [CHARGE, CHARGE | {"status": "declined"}], ""),
        (bought, "charges", [CHARGE, CHARGE | {"status": "pending"}], "ch_1 of order o1 is pending"),
        (bought, "delivered", [], "the data platform got []"),
        (bought, "delivered", ["order.paid", "order.paid"], "the data platform got"),
        (bought, "answer", Answer(201, ORDER), "first"),
        (bought, "answer", Answer(201, ORDER | {"id": "o2"}, is_replay=True), "first"),
        (refunded, "delivered", ["order.paid", "order.refunded"], ""),
        (refunded, "delivered", ["order.paid"], "1 refunds are due"),
        (refunded, "delivered", ["order.paid", "order.refunded", "order.refunded"], "1 refunds are due"),
        (refunded, "charges", [CHARGE], "holds 900, due are 700"),
        (refunded, "points", -80, "wallet of 1: 20 by the answers, is -80"),
        (refunded, "on_hand", 8, "product 5: on hand and reserved: (9, 0)"),
        (refunded, "delivered", ["order.refunded", "order.paid"], "the data platform got"),
    ],
)
def test_an_answer_that_does_not_hold_is_found(make, name, value, says):
    setup, books = make()
    setattr(books, name, value)
    require(list(comparison.findings(setup, books)), says)


DECLINED = {"code": "payment_declined", "order": "o1", "failure": {"code": "card_declined", "detail": ""}}
KEPT = {"items": [], "payment": {"token": "tok_declined"}, "keep_on_decline": True}
KEEP = Call("POST", "/orders", "token", KEPT, "k1")
FIRST_DECLINED = RecordedCall("order", KEEP, Answer(402, DECLINED))
GIVEN_UP = RecordedCall("order", KEEP, Answer(402, DECLINED | {"failure": {"code": "action_expired"}}))
PAID = {"id": "p2", "order": "o1", "status": "succeeded"}


def second(status: int, body) -> RecordedCall:
    call = Call("POST", "/payments", "token", {"order": "o1", "token": "tok_ok"}, "k2")
    return RecordedCall("payment", call, Answer(status, body))


@in_one_test(
    ("calls", "ends"),
    [
        ([FIRST_DECLINED], {"cancelled", "expired"}),
        ([FIRST_DECLINED, second(201, PAID)], {"paid", "refunded"}),
        ([FIRST_DECLINED, second(402, DECLINED)], {"payment_failed"}),
        ([GIVEN_UP], {"payment_failed"}),
        # A call that paid nothing, because another one did.
        (
            [FIRST_DECLINED, second(201, PAID), second(409, {"code": "order_not_payable"})],
            {"paid", "refunded"},
        ),
        # The order's own call got no answer that names it, so the order is in no answer.
        ([second(201, PAID)], set()),
        # Both were answered to have succeeded.
        ([FIRST_DECLINED, second(201, PAID), second(201, PAID | {"id": "p3"})], set()),
    ],
)
def test_a_kept_order_ends_as_its_payments_were_answered(calls, ends):
    for status in ("paid", "refunded", "payment_failed", "cancelled", "expired"):
        account = Account(1, "token", calls=list(calls))
        found = list(comparison.of_orders(account, {"o1": {"id": "o1", "status": status, "items": []}}))
        assert bool(found) == (status not in ends)


@in_one_test(
    ("charges", "says"),
    [
        ([CHARGE | {"refunded_amount": 900}], ""),
        ([CHARGE | {"refunded_amount": 900}] * 2, "charged 2 times"),
        ([CHARGE], "the gateway holds 900, due are 0"),
    ],
)
def test_an_order_that_ended_unpaid_has_at_most_one_charge_which_was_refunded(charges, says):
    setup, books = bought()
    books.charges = charges
    found = list(comparison.of_money(setup, {"o1": ORDER | {"status": "expired"}}, books))
    require(found, says)


KINDS = ("stock.adjusted", "coupon.issued", "order.placed", "coupon.held", "order.paid", "coupon.redeemed")
ALL = [{"id": f"e{number}", "type": kind} for number, kind in enumerate(KINDS)]


@in_one_test(
    ("followed", "again", "says"),
    [
        (ALL, ALL, ""),
        ([*ALL[:4], *ALL[5:]], ALL, "event e4, order.paid, was skipped"),
        (ALL, [*ALL[:4], *ALL[5:]], "event e4, order.paid, is not in the feed any more"),
        ([*ALL, ALL[4]], ALL, "event e4, order.paid, came several times when the feed was followed"),
        (ALL, [*ALL, ALL[4]], "event e4, order.paid, came several times when the feed was read again"),
        ([ALL[1], ALL[0], *ALL[2:]], ALL, "another order: e0, stock.adjusted, was followed later than e1"),
    ],
)
def test_two_readings_that_differ_are_found(followed, again, says):
    found = list(comparison.of_readings(followed, again))
    assert len(found) == bool(says)
    require(found, says)
