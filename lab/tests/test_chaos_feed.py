"""What `make chaos` finds in the feed of events, and in orders that are kept for another payment."""

import time
from typing import Any

import pytest

from lab.chaos import comparison, feed, operators, outside
from lab.chaos.calls import Answer, Call, Observations
from lab.chaos.clients import Buyer
from lab.chaos.memory import Account, Product, RecordedCall, Setup
from lab.tests.test_chaos import Books
from shop.tests.case_tables import in_one_test

COUPON = {"code": "C1", "campaign": 1, "position": 1, "status": "redeemed"}
ORDER = {"id": "o1", "status": "paid"}
REFUND = {"id": "r1", "order": "o1"}


def event(kind: str, number: int, **data: Any) -> dict[str, Any]:
    return {"id": f"e{number}", "type": kind, "data": {"account": 1} | data}


ALL = [
    event("stock.adjusted", 0, product=5),
    event("coupon.issued", 1, coupon="C1"),
    event("order.placed", 2, order="o1"),
    event("coupon.held", 3, coupon="C1"),
    event("order.paid", 4, order="o1"),
    event("coupon.redeemed", 5, coupon="C1"),
    event("stock.adjusted", 6, product=5),
    event("refund.requested", 7, order="o1"),
    event("order.refunded", 8, order="o1"),
    event("product.sold_out", 9, product=5),
]


@pytest.fixture
def setup() -> Setup:
    staff, buyer = Account(0, "staff"), Account(1, "buyer")
    adjust = Call("POST", "/products/5/stock-adjustments", "staff", {"delta": 2}, "k")
    staff.calls.append(RecordedCall("adjustment", adjust, Answer(201, {"id": 3})))
    staff.calls.append(RecordedCall("refund", Call("POST", "/orders/o1/refunds", "s"), Answer(202, REFUND)))
    buyer.calls.append(RecordedCall("coupon", Call("POST", "/coupons", "token"), Answer(201, COUPON)))
    return Setup(staff, [buyer], campaigns=[1], products=[], ample=Product(5, 10))


def findings(setup: Setup, events: list[Any]) -> list[str]:
    return [
        *feed.of_orders(setup, {"o1": ORDER}, events),
        *feed.of_coupons(setup, {"C1": COUPON}, events),
        *feed.of_stock(setup, events),
    ]


def test_two_refunds_of_an_order_may_be_under_way_at_once(setup: Setup) -> None:
    setup.staff.calls.append(setup.staff.calls[-1])
    requested, refunded = (ALL[number] | {"id": f"again-{number}"} for number in (7, 8))
    assert findings(setup, [*ALL[:8], requested, ALL[8], refunded]) == []
    assert findings(setup, [*ALL, requested, refunded]) == []
    assert findings(setup, [*ALL, refunded, requested])
    assert findings(setup, ALL)


@in_one_test("number", range(9))
def test_each_event_that_is_missing_is_found(number: int, setup: Setup) -> None:
    assert findings(setup, [one for one in ALL if one is not ALL[number]])


@in_one_test("number", range(9))
def test_each_event_that_came_twice_with_two_ids_is_found(number: int, setup: Setup) -> None:
    assert findings(setup, [*ALL[: number + 1], ALL[number] | {"id": "again"}, *ALL[number + 1 :]])


@in_one_test(("first", "second"), [(2, 4), (1, 3), (3, 5), (7, 8)])
def test_events_of_one_order_or_coupon_out_of_sequence_are_found(
    first: int, second: int, setup: Setup
) -> None:
    events = [*ALL]
    events[first], events[second] = events[second], events[first]
    assert findings(setup, events)


@in_one_test("unknown", [event("order.placed", 10, order="o2"), event("coupon.issued", 10, coupon="C2")])
def test_an_event_of_what_is_not_there_is_found(unknown: dict[str, Any], setup: Setup) -> None:
    assert (findings(setup, ALL), len(findings(setup, [*ALL, unknown]))) == ([], 1)
    others = unknown | {"data": unknown["data"] | {"account": 2}}
    assert findings(setup, [*ALL, others]) == []


@in_one_test(
    ("followed", "again", "says"),
    [
        ([*ALL[:4], *ALL[5:]], ALL, "event e4, order.paid, was skipped"),
        (ALL, [*ALL[:4], *ALL[5:]], "event e4, order.paid, is not in the feed any more"),
        ([*ALL, ALL[4]], ALL, "event e4 came 2 times when the feed was followed"),
        (ALL, [*ALL, ALL[4]], "event e4 came 2 times when the feed was read again"),
        ([ALL[1], ALL[0], *ALL[2:]], ALL, "another order: e0, stock.adjusted, was followed later than e1"),
    ],
)
def test_two_readings_that_differ_are_found(followed: list[Any], again: list[Any], says: str) -> None:
    [finding] = feed.compare_readings(followed, again)
    assert says in finding
    assert list(feed.compare_readings(ALL, ALL)) == []


DECLINED = {"code": "payment_declined", "order": "o1", "failure": {"code": "card_declined", "detail": ""}}
GIVEN_UP = DECLINED | {"failure": {"code": "action_expired", "detail": ""}}
KEPT = {"items": [], "payment": {"token": "tok_declined"}, "keep_on_decline": True}
SECOND = {"order": "o1", "token": "tok_ok"}


def placed(answer: Answer, body: dict[str, Any] = KEPT) -> RecordedCall:
    return RecordedCall("order", Call("POST", "/orders", "token", body, "k1"), answer)


def paid(answer: Answer, *, keep: bool = False) -> RecordedCall:
    body = SECOND | ({"keep_on_decline": True} if keep else {})
    return RecordedCall("payment", Call("POST", "/payments", "token", body, "k2"), answer)


FIRST_DECLINED = placed(Answer(402, DECLINED))
SUCCEEDED = Answer(201, {"id": "p2", "order": "o1", "status": "succeeded"})


@pytest.fixture
def account() -> Account:
    return Account(1, "token")


@pytest.fixture
def buyer(account: Account) -> Buyer:
    setup = Setup(Account(0, "staff"), [account], [1], [], Product(5, 10), has_customer_actions=True)
    return Buyer([account], setup, port=1, seed="1", ends_at=time.monotonic(), seen=Observations())


@in_one_test(
    ("calls", "ends"),
    [
        ([FIRST_DECLINED], {"cancelled", "expired"}),
        ([FIRST_DECLINED, paid(SUCCEEDED)], {"paid", "refunded"}),
        ([FIRST_DECLINED, paid(Answer(402, DECLINED))], {"payment_failed"}),
        ([placed(Answer(402, GIVEN_UP))], {"payment_failed"}),
        # A call that paid nothing, because another one did.
        (
            [FIRST_DECLINED, paid(SUCCEEDED), paid(Answer(409, {"code": "order_not_payable"}))],
            {"paid", "refunded"},
        ),
    ],
)
@in_one_test("status", ["paid", "refunded", "payment_failed", "cancelled", "expired"])
def test_a_kept_order_ends_as_its_payments_were_answered(
    calls: list[RecordedCall], ends: set[str], status: str
) -> None:
    account = Account(1, "token", calls=list(calls))
    found = list(comparison._orders(account, {"o1": {"id": "o1", "status": status, "items": []}}))
    assert bool(found) == (status not in ends)


def test_two_payments_of_an_order_that_were_answered_to_have_succeeded_are_found(account: Account) -> None:
    account.calls += [FIRST_DECLINED, paid(SUCCEEDED), paid(Answer(201, SUCCEEDED.body | {"id": "p3"}))]
    found = list(comparison._orders(account, {"o1": {"id": "o1", "status": "paid", "items": []}}))
    assert found == ["order o1: 2 payments were answered to have succeeded"]


def charge(number: int, status: str, refunded: int = 0) -> dict[str, Any]:
    more = {"status": status, "amount": 900, "refunded_amount": refunded}
    return {"id": f"ch_{number}", "order": "o1"} | more


@in_one_test(
    ("status", "charges", "says"),
    [
        ("paid", [charge(1, "declined"), charge(2, "succeeded")], ""),
        ("paid", [charge(1, "succeeded"), charge(2, "succeeded", 900)], "charged 2 times"),
        ("expired", [charge(1, "succeeded", 900)], ""),
        ("expired", [charge(1, "succeeded", 900), charge(2, "succeeded", 900)], "charged 2 times"),
        ("expired", [charge(1, "succeeded")], "the gateway holds 900, due are 0"),
        ("payment_failed", [charge(1, "pending")], "charge ch_1 of order o1 is pending"),
    ],
)
def test_an_order_has_one_charge_at_most_and_none_is_open_once_it_ended(
    status: str, charges: list[dict[str, Any]], says: str, buyer: Buyer
) -> None:
    order = {"id": "o1", "status": status, "card_amount": 900}
    shop: Any = Books()
    shop.charges = charges
    found = list(outside._money(buyer.setup, [order], shop))
    assert any(says in one for one in found) if says else found == []


GIVEN = {"operator 1": (1, 500), "operator 2": (1, 100_500), "operator 3": (1, 100_900)}
ROWS = [(1, "points.grant", "operator 2", "approved"), (2, "points.grant", "operator 3", "refused")]
BOOKED = [("operator 1", 1, 500), ("operator 2", 1, 100_500)]


@in_one_test(
    ("rows", "booked", "says"),
    [
        (ROWS, BOOKED, ""),
        (ROWS, [*BOOKED, BOOKED[1]], "too many"),
        (ROWS, BOOKED[:1], "are missing"),
        (ROWS[:1], BOOKED, "2 were asked for, 1 are there"),
        ([ROWS[0], (2, "points.grant", "operator 3", "waiting")], BOOKED, "approval 2 is waiting"),
    ],
)
def test_what_operators_grant_is_there_once_and_their_approvals_are_as_they_were_decided(
    rows: list[Any], booked: list[Any], says: str, buyer: Buyer
) -> None:
    buyer.setup.granted, buyer.setup.pressed = GIVEN, {1: {"approved"}, 2: {"approved", "refused"}}
    found = list(operators.compare(buyer.setup, rows, booked))
    assert any(says in one for one in found) if says else found == []
