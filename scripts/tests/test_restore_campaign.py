"""The comparison of a restore to a moment: what has to be there, what is measured, and what is a finding."""

import pytest

from scripts.chaos.calls import Answer, Call
from scripts.chaos.campaigns.restore import loss
from scripts.chaos.memory import Account, Product, RecordedCall, Setup
from scripts.cluster.drill import effects

MOMENT, LOST_AT = 100.0, 106.0
NOTHING = {kind: set[str]() for kind in effects.TABLES}


def order(order_id: str, answered_at: float, *, key: str = "a-key") -> RecordedCall:
    call = Call("POST", "/orders", "token", {"items": []}, key)
    return RecordedCall("order", call, Answer(201, {"id": order_id}), answered_at)


def setup(*calls: RecordedCall) -> Setup:
    return Setup(Account(0, "staff"), [Account(1, "token", calls=list(calls))], [], [], Product(1, 10))


def compare(calls: Setup, *stored: str) -> loss.Loss:
    rows = NOTHING | {"order": set(stored)}
    return loss.compare(calls, rows, before=NOTHING, moment=MOMENT, lost_at=LOST_AT)


def test_an_order_that_was_acknowledged_before_the_moment_and_is_lost_is_a_finding():
    found = compare(setup(order("early", 99.9), order("late", 100.1)), "late")
    assert found.findings == ["order early is not on the restored database"]
    assert not found.forgotten


def test_an_order_that_was_acknowledged_after_the_moment_and_is_lost_is_measured():
    found = compare(setup(order("early", 99.9), order("late", 100.0), order("later", 105.9)), "early", "late")
    assert (found.findings, dict(found.forgotten), found.acknowledged) == ([], {"order": 1}, 1)


def test_an_order_that_the_restored_shop_acknowledged_and_lacks_is_a_finding():
    assert compare(setup(order("after", LOST_AT + 20))).findings == [
        "order after is not on the restored database"
    ]


@pytest.mark.parametrize("answered_at", [99.0, 101.0, 120.0])
def test_an_order_that_no_client_was_answered_is_a_finding(answered_at: float):
    found = compare(setup(order("known", answered_at)), "known", "made-twice")
    assert found.findings == ["order made-twice on the restored database was in no answer"]


def test_keys_of_lost_orders_alone_are_repeated():
    known = setup(order("early", 99.9), order("kept", 101.0), order("lost", 102.0), order("after", 130.0))
    rows = NOTHING | {"order": {"early", "kept", "after"}}
    forgotten = loss.forgotten_orders(known, rows, moment=MOMENT, lost_at=LOST_AT)
    assert [made.answer.body["id"] for made in forgotten] == ["lost"]


def test_a_second_load_begins_without_calls_and_leaves_those_of_the_first():
    known = setup(order("early", 99.9))
    assert [account.calls for account in loss.without_calls(known).buyers] == [[]]
    assert len(known.buyers[0].calls) == 1
