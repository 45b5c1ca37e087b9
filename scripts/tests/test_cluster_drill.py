"""What the drill counts as lost, doubled and allowed."""

from collections import Counter
from typing import Any

import pytest

from scripts.chaos.calls import Answer, Call
from scripts.chaos.memory import Account, Product, RecordedCall, Setup
from scripts.cluster.drill import effects, judging, plan
from scripts.cluster.drill.judging import Outcome
from shop.tests.case_tables import in_one_test

CALL = Call("POST", "/orders", "token", {}, "key")


def outcome(name: str = "kill mysql-primary", **changed: Any) -> Outcome:
    values: dict[str, Any] = {
        "fault": plan.draw(name, seed="7"),
        "target": "mysql-2",
        "outage_seconds": 6.44,
        "whole_seconds": 19.0,
        "statuses": Counter({"201": 300, "503": 12, "409": 3}),
        "load_average": 4.4,
        "slowest_seconds": 6.5,
        "acknowledged": 290,
    }
    return Outcome(**values | changed)


@in_one_test(
    ("answer", "word", "allowed"),
    [
        (Answer(201, {}), "201", True),
        (Answer(409, {"code": "sold_out"}), "409", True),
        (Answer(503, {"code": "unavailable"}, retry_after="1"), "503", True),
        (Answer(503, {"code": "unavailable"}), "503 without Retry-After", False),
        (Answer(500, {"code": "internal"}), "500", False),
        (Answer(502, {"code": "partner_failed"}), "502", False),
        (Answer(504, {}), "504", False),
        (Answer(599, {"code": "not_json"}), "599", False),
    ],
)
def test_only_success_refusals_and_a_503_with_a_time_to_come_again_are_allowed(
    answer: Answer, word: str, allowed: bool
):
    assert judging.status_word(answer) == word
    assert judging.is_allowed(word) is allowed


@in_one_test(
    ("changed", "failure"),
    [
        ({"outage_seconds": 10.1}, "writes were acknowledged again after 10.1 s, not within 10.0 s"),
        ({"statuses": Counter({"500": 2})}, "2 x 500"),
        ({"statuses": Counter({judging.REFUSED: 1})}, "1 x no connection"),
        ({"acknowledged": 0}, "no write was acknowledged"),
        ({"lost": ["coupon A is not on mysql-3"]}, "lost: coupon A is not on mysql-3"),
        ({"doubled": ["order 1 on mysql-1 was in no answer"]}, "doubled: order 1"),
        ({"findings": ["L1 is broken"]}, "L1 is broken"),
    ],
)
def test_a_promise_that_did_not_hold_is_a_failure(changed: dict[str, Any], failure: str):
    [found] = outcome(**changed).failures()
    assert found.startswith(failure)


def test_what_holds_has_no_failures_and_a_killed_proxy_may_refuse_connections():
    assert list(outcome().failures()) == []
    refused = Counter({judging.REFUSED: 9})
    assert list(outcome("kill haproxy-front", statuses=refused).failures()) == []


@pytest.fixture
def setup() -> Setup:
    calls = [
        RecordedCall("coupon", CALL, Answer(201, {"code": "A"})),
        RecordedCall("order", CALL, Answer(201, {"id": "11-22"})),
        RecordedCall("order", CALL, Answer(402, {"order": "33-44"})),
        RecordedCall("order", CALL, Answer(409, {"code": "insufficient_stock"})),
        RecordedCall("top_up", CALL, Answer(201, {"id": "55-66"})),
        RecordedCall("top_up", CALL, Answer(402, {"code": "payment_declined"})),
        RecordedCall("entry", CALL, Answer(202, {"id": "aa-bb"})),
    ]
    staff = [
        RecordedCall("refund", CALL, Answer(202, {"id": "77"})),
        RecordedCall("grant", CALL, Answer(201, {"id": 88})),
    ]
    return Setup(Account(0, "staff", calls=staff), [Account(1, "a", calls=calls)], [], [], Product(1, 9))


def rows(**changed: set[str]) -> dict[str, set[str]]:
    there = {
        "coupon": {"A"},
        "order": {"1122", "3344"},
        "payment": {"5566", "99"},
        "refund": {"77"},
        "entry": {"aabb"},
        "grant": {"5", "88"},
        "adjustment": set[str](),
    }
    return there | changed


BEFORE = {kind: set[str]() for kind in effects.TABLES} | {"grant": {"5"}}


@in_one_test(
    ("changed", "lost", "doubled"),
    [
        ({}, [], []),
        ({"order": {"1122"}}, ["order 3344 is not on mysql-2"], []),
        ({"coupon": {"A", "B"}}, [], ["coupon B on mysql-2 was in no answer"]),
    ],
)
def test_what_a_member_lacks_is_lost_and_what_was_in_no_answer_is_doubled(
    changed: dict[str, set[str]], lost: list[str], doubled: list[str], setup: Setup
):
    stored = {"mysql-1": rows(), "mysql-2": rows(**changed)}
    compared = effects.compare(effects.acknowledged(setup), stored, before=BEFORE)
    assert (compared.lost, compared.doubled) == (lost, doubled)


def test_a_table_with_another_content_on_one_member_is_named():
    same = {"firstcome.payments_entry": 5, "firstcome.orders_order": 7}
    assert effects.unequal({"mysql-1": same, "mysql-2": same, "mysql-3": same}) == []
    other = {"mysql-1": same, "mysql-2": same, "mysql-3": same | {"firstcome.payments_entry": 6}}
    assert effects.unequal(other) == ["firstcome.payments_entry is not the same on mysql-3 and mysql-1"]
    missing: dict[str, int | None] = {"firstcome.payments_entry": None}
    assert effects.unequal({"mysql-1": missing, "mysql-2": missing})
