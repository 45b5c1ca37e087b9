"""Orders of `make chaos` that are kept for another payment, and their charges: what is a finding."""

import time
from typing import Any

import pytest

from scripts.chaos import comparison, operators, outside
from scripts.chaos.calls import Answer, Call, Observations
from scripts.chaos.clients import Buyer
from scripts.chaos.memory import Account, Product, RecordedCall, Setup
from scripts.tests.test_chaos import Books
from shop.tests.case_tables import in_one_test

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
        ([FIRST_DECLINED, paid(Answer(402, DECLINED), keep=True)], {"cancelled", "expired"}),
        ([FIRST_DECLINED, paid(Answer(402, DECLINED))], {"payment_failed"}),
        ([FIRST_DECLINED, paid(Answer(402, GIVEN_UP), keep=True)], {"payment_failed"}),
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
        ("expired", [charge(1, "declined"), charge(2, "cancelled")], ""),
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
        ([*ROWS, (3, "saga.force", "operator ada", "waiting")], BOOKED, ""),
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
