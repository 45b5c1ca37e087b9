"""The reader of the event feed in `make chaos`: what it does with answers, and what it finds."""

from typing import Any

import pytest

from scripts.chaos import feed
from scripts.chaos.calls import Answer, Call
from scripts.chaos.memory import Account, Product, RecordedCall, Setup
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
