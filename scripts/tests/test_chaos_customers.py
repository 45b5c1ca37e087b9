"""Customers of `make chaos` whose payments need them, or whose orders are kept: their calls, and findings."""

import time
from typing import Any

import pytest

from scripts.chaos import clients, comparison, outside
from scripts.chaos.calls import Answer, Call, Observations
from scripts.chaos.clients import Buyer
from scripts.chaos.memory import Account, Product, RecordedCall, Setup
from scripts.stack import readiness
from shop.tests.case_tables import in_one_test

PAGE = "http://127.0.0.1:8001/3ds/ch_1"
ACTION = {"type": "redirect", "url": PAGE, "expires_at": "2026-01-01T00:00:00Z"}
WAITING = {"id": "o1", "status": "paying", "payment": {"id": "p1", "next_action": ACTION}}
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


class Answers:
    """Gives one answer after the other, in place of a connection."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)

    def call_until_final(self, call: Call, *, until: float) -> Answer:
        return self.answers.pop(0)


@pytest.fixture
def account() -> Account:
    return Account(1, "token")


@pytest.fixture
def buyer(account: Account) -> Buyer:
    setup = Setup(Account(0, "staff"), [account], [1], [], Product(5, 10), has_customer_actions=True)
    return Buyer([account], setup, port=1, seed="1", ends_at=time.monotonic(), seen=Observations())


def start(buyer: Buyer, account: Account, body: dict[str, Any], *answers: Answer) -> None:
    buyer.connection = Answers(*answers)  # type: ignore[assignment]
    buyer.start(account, "order", "/orders", body)


def pages(monkeypatch: pytest.MonkeyPatch, decision: str, status: int = 303) -> list[tuple[Any, ...]]:
    """The requests to the gateway's page, once the owner decides so; without a status it gives no answer."""
    asked: list[tuple[Any, ...]] = []

    def ask(port: int, method: str, path: str, body: str) -> tuple[int, str]:
        asked.append((port, method, path, body))
        if not status:
            raise ConnectionResetError
        return status, ""

    monkeypatch.setattr(clients, "DECISIONS", {decision: 1})
    monkeypatch.setattr(readiness, "ask", ask)
    return asked


@pytest.mark.parametrize("decision", [clients.APPROVE, clients.REFUSE])
def test_the_owner_of_a_card_decides_at_the_page(
    decision: str, buyer: Buyer, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = pages(monkeypatch, decision)
    start(buyer, account, {"payment": {"token": "tok_3ds"}}, Answer(202, WAITING), Answer(200, WAITING))
    buyer.follow(account)
    assert asked == [(8001, "POST", "/3ds/ch_1", f"decision={decision}")]
    assert (buyer.started, buyer.unpaid, buyer.seen.findings) == ([], [], [])


def test_a_page_that_takes_no_decision_is_a_finding(
    buyer: Buyer, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages(monkeypatch, clients.APPROVE, status=404)
    start(buyer, account, {"payment": {"token": "tok_3ds"}}, Answer(202, WAITING), Answer(200, WAITING))
    buyer.follow(account)
    assert "/3ds/ch_1 answered 404 to approve" in buyer.seen.findings[0]


def test_an_order_that_is_kept_is_paid_with_another_card(buyer: Buyer, account: Account) -> None:
    start(buyer, account, KEPT, Answer(402, DECLINED))
    assert buyer.unpaid == [(account, "o1")]
    buyer.connection = Answers(SUCCEEDED)  # type: ignore[assignment]
    buyer.pay(account)
    assert [made.sort for made in account.calls] == ["order", "payment"]
    assert account.calls[1].call.body["order"] == "o1"


def test_an_order_that_was_kept_after_its_answer_is_paid_with_another_card(
    buyer: Buyer, account: Account
) -> None:
    under_way = {"id": "o1", "status": "paying", "payment": None}
    kept = {"id": "o1", "status": "awaiting_payment", "payment": {"id": "p1", "next_action": None}}
    start(buyer, account, KEPT, Answer(202, under_way), Answer(200, under_way), Answer(200, kept))
    buyer.follow(account)
    assert (buyer.started, buyer.unpaid) == ([(account, "/orders/o1")], [])
    buyer.follow(account)
    assert (buyer.started, buyer.unpaid) == ([], [(account, "o1")])


def test_no_other_order_is_taken_for_a_kept_one(buyer: Buyer, account: Account) -> None:
    for answer in (Answer(402, GIVEN_UP), Answer(201, {"id": "o1"})):
        start(buyer, account, KEPT, answer)
    assert buyer.unpaid == []


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


class Gateway:
    """The gateway's book, in place of the shop."""

    def __init__(self, charges: list[dict[str, Any]]) -> None:
        self.charges = charges

    def gateway(self, path: str) -> Any:
        taken = [one for one in self.charges if one["status"] == "succeeded"]
        charged, refunded = (sum(one[name] for one in taken) for name in ("amount", "refunded_amount"))
        return {"results": self.charges, "charged_amount": charged, "refunded_amount": refunded}


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
    shop: Any = Gateway(charges)
    found = list(outside._money(buyer.setup, [order], shop))
    assert any(says in one for one in found) if says else found == []
