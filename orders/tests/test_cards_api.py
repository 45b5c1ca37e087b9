"""Payments by card over HTTP, with a real worker: that need the customer, of kept orders, and top-ups."""

from typing import Any

import pytest
from django.test import Client

from accounts.tests.clients import client_of, new_superuser, problem_of
from foundation.operations import dispatch
from foundation.tests.racing import wait_until
from foundation.tests.waiting import within
from inventory.tests.factories import ProductFactory
from orders import tasks
from orders.models import Order
from orders.tests import buying, owners
from orders.tests.buying import order_of
from payments.gateways import gateway
from payments.models import Payment
from payments.tests import events

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]
WAIT = "wait=20"


@pytest.fixture
def api(buyer):
    """The API of the buyer; waits for the worker before the tables are emptied."""
    yield client_of(buyer)
    for payment in Payment.objects.exclude(action_url=""):
        owners.let_action_end(payment.id)
    buying.settle_everything()


def decide(address: str, decision: str):
    """The card's owner decides, and the gateway's webhook about it reaches the shop."""
    owners.decide_at(address, decision)
    body = events.body_of(key=Payment.objects.get(action_url=address).charge_key)
    path = "/api/v1/webhooks/simulator"
    sent = Client().generic("POST", path, body, content_type="application/json", headers=events.signed(body))
    assert sent.status_code == 200


def settled(api, path: str) -> dict[str, Any]:
    """The order or payment once it doesn't wait for its owner any more."""

    def is_settled():
        dispatch.enqueue(tasks.advance)
        return api.read(path)["status"] not in ("paying", "pending", "requires_action")

    wait_until(is_settled, seconds=20)
    body: dict[str, Any] = api.read(path)
    return body


def test_a_call_that_waits_gets_202_at_once_with_the_page_and_then_the_settled_answer(api, product):
    body = order_of(product, "tok_3ds", points_amount=100)
    with within(10):
        answer = api.post("/orders", body, key="a", Prefer=WAIT)
    order = answer.json()
    assert (answer.status_code, order["status"]) == (202, "paying")
    payment = order["payment"]
    assert payment["status"] == "requires_action"
    assert payment["next_action"]["type"] == "redirect"
    assert set(payment["next_action"]) == {"type", "url", "expires_at"}
    replayed = api.post("/orders", body, key="a", Prefer=WAIT)
    assert (replayed.status_code, replayed.json()) == (202, order)
    assert replayed["Idempotency-Replayed"] == "true"
    read = api.read(f"/payments/{payment['id']}")
    assert (read["status"], read["next_action"]) == ("requires_action", payment["next_action"])
    assert api.read(answer["Location"])["payment"] == payment
    assert api.rows("/orders")[0]["payment"] == payment
    staff = new_superuser()
    assert staff.read(answer["Location"])["payment"] == payment | {"next_action": None}
    assert staff.read(f"/payments/{payment['id']}")["next_action"] is None
    assert problem_of(api.post(f"/orders/{order['id']}/cancel")) == (409, "order_not_cancellable")
    decide(payment["next_action"]["url"], "approve")
    paid = settled(api, answer["Location"])
    assert (paid["status"], paid["payment"]["status"]) == ("paid", "succeeded")
    assert paid["payment"]["next_action"] is None
    assert api.post("/orders", body, key="a").status_code == 201
    timeline = api.rows(f"/orders/{order['id']}/timeline")
    assert "charge_card.requires_action" in [line["event"] for line in timeline]


def test_a_top_up_whose_owner_must_act_is_202_at_once_with_the_page(api):
    body = {"amount": 700, "token": "tok_3ds"}
    answer = api.post("/wallet/top-ups", body, key="a")
    payment = answer.json()
    assert (answer.status_code, payment["status"]) == (202, "requires_action")
    decide(payment["next_action"]["url"], "approve")
    assert settled(api, answer["Location"])["status"] == "succeeded"
    assert api.read("/wallet")["balance_amount"] == 1_700
    assert api.post("/wallet/top-ups", body, key="a").status_code == 201


def test_a_refused_card_is_402_every_time_and_the_order_is_paid_with_another(api, product):
    body = order_of(product, "tok_declined", keep_on_decline=True)
    answer = api.post("/orders", body, key="a", Prefer=WAIT)
    declined = answer.json()
    assert (answer.status_code, declined["code"]) == (402, "payment_declined")
    path = f"/orders/{declined['order']}"
    kept = api.read(path)
    assert (kept["status"], kept["payment"]["status"]) == ("awaiting_payment", "failed")
    assert kept["failure"] is None
    second = {"order": declined["order"], "token": "tok_3ds", "keep_on_decline": True}
    waiting = api.post("/payments", second, key="b", Prefer=WAIT)
    assert (waiting.status_code, waiting.json()["status"]) == (202, "requires_action")
    decide(waiting.json()["next_action"]["url"], "refuse")
    assert settled(api, waiting["Location"])["failure"]["code"] == "authentication_failed"
    again = api.post("/payments", second, key="b")
    assert (again.status_code, again.json()["payment"]) == (402, waiting.json()["id"])
    third = api.post("/payments", {"order": declined["order"], "token": "tok_ok"}, key="c", Prefer=WAIT)
    assert (third.status_code, third.json()["status"]) == (201, "succeeded")
    paid = api.read(path)
    assert (paid["status"], paid["payment"]["id"]) == ("paid", third.json()["id"])
    replayed = api.post("/orders", body, key="a")
    assert (replayed.status_code, replayed.content) == (402, answer.content)
    assert len(api.rows(f"/payments?order={declined['order']}")) == 3


def test_a_call_that_did_not_wait_is_402_after_the_order_was_paid_with_another_card(api, product):
    """The answer of the call is what became of its own payment."""
    body = order_of(product, "tok_declined", keep_on_decline=True)
    order = api.post("/orders", body, key="a").json()
    wait_until(lambda: api.read(f"/orders/{order['id']}")["status"] == "awaiting_payment")
    paid = api.post("/payments", {"order": order["id"], "token": "tok_ok"}, key="b", Prefer=WAIT)
    assert paid.status_code == 201
    replayed = api.post("/orders", body, key="a")
    assert (replayed.status_code, replayed.json()["order"]) == (402, order["id"])
    assert replayed.json()["failure"]["code"] == "card_declined"


def test_a_sixth_card_is_409_with_its_reason(api, product):
    order = api.post("/orders", order_of(product, "tok_declined", keep_on_decline=True), key="0", Prefer=WAIT)
    card = {"order": order.json()["order"], "token": "tok_declined", "keep_on_decline": True}
    answers = [api.post("/payments", card, key=key, Prefer=WAIT) for key in "12345"]
    assert [answer.status_code for answer in answers] == [402] * 4 + [409]
    last = answers[-1].json()
    assert (last["code"], last["reason"]) == ("order_not_payable", "too_many_payments")


def test_a_top_up_is_201_with_its_payment_once_the_card_is_charged(api):
    answer = api.post("/wallet/top-ups", {"amount": 700, "token": "tok_ok"}, key="a")

    payment = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"/api/v1/payments/{payment['id']}"
    figures = {"status": "succeeded", "points_amount": 0, "card_amount": 700, "gateway": "simulator"}
    figures |= {"account": Payment.objects.get().account_id, "currency": "KRW"}
    empty = dict.fromkeys(("order", "failure", "dispute", "next_action"))
    assert payment == figures | empty | {name: payment[name] for name in ("id", "created_at")}
    assert api.read(answer["Location"]) == payment


@pytest.mark.parametrize(
    ("token", "code"), [("tok_declined", "card_declined"), ("tok_of_a_stranger", "unknown_token")]
)
def test_a_declined_top_up_is_402_with_the_payment_and_why_it_failed(token, code, api):
    answer = api.post("/wallet/top-ups", {"amount": 700, "token": token}, key="a")

    problem = answer.json()
    assert problem_of(answer) == (402, "payment_declined")
    assert problem["failure"] == {"code": code, "detail": problem["detail"]}
    assert "order" not in problem
    payment = api.read(f"/payments/{problem['payment']}")
    assert (payment["status"], payment["failure"]) == ("failed", problem["failure"])


def test_an_unknown_card_token_is_a_declined_payment_whose_failure_says_unknown_token(api):
    product = ProductFactory(on_hand=9)

    answer = api.post("/orders", order_of(product, "tok_of_a_stranger"), key="a", Prefer="wait=20")

    assert problem_of(answer) == (402, "payment_declined")
    assert answer.json()["failure"]["code"] == "unknown_token"
    assert "tok_of_a_stranger" not in answer.text
    order = api.read(f"/orders/{answer.json()['order']}")
    assert (order["status"], order["failure"]) == ("payment_failed", answer.json()["failure"])
    assert api.read(f"/products/{product.id}")["available"] == 9
    assert not list(gateway().charges())


def test_a_declined_payment_is_explained_in_the_language_of_the_first_call(api, product):
    body = order_of(product, "tok_insufficient_funds")
    first = api.post("/orders", body, key="a", Prefer="wait=20", **{"Accept-Language": "ko"})
    again = api.post("/orders", body, key="a", Prefer="wait=20", **{"Accept-Language": "en"})

    declined = first.json()
    assert (first.status_code, declined["detail"]) == (402, "카드의 잔액이 부족합니다.")
    assert declined["failure"] == {"code": "insufficient_funds", "detail": "카드의 잔액이 부족합니다."}
    assert (again.content, again["Idempotency-Replayed"]) == (first.content, "true")
    for language, detail in (("ko", "카드의 잔액이 부족합니다."), ("en", "The card has insufficient funds.")):
        order = api.read(f"/orders/{declined['order']}", **{"Accept-Language": language})
        assert order["failure"] == {"code": "insufficient_funds", "detail": detail}
    assert Order.objects.get(id=declined["order"]).failure_detail == "The card has insufficient funds."
