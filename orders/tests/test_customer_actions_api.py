"""Payments that need the customer, and orders that are kept, over HTTP with a real worker."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from inventory.models import Product
from orders import tasks
from orders.tests import buying, owners
from orders.tests.buying import order_of
from payments.models import Payment
from payments.tests import events
from shop.operations import dispatch
from shop.tests.clients import Api, client_of
from shop.tests.factories import SuperuserFactory
from shop.tests.racing import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker", "laws_hold")]
WAIT = "wait=20"


@pytest.fixture
def api(buyer: Any) -> Iterator[Api]:
    """The API of the buyer; waits for the worker before the tables are emptied."""
    yield client_of(buyer)
    for payment in Payment.objects.exclude(action_url=""):
        owners.let_action_end(payment.id)
    buying.settle_everything()


def decide(address: str, decision: str) -> None:
    """The card's owner decides, and the gateway's webhook about it reaches the shop."""
    owners.decide_at(address, decision)
    body = events.body_of(key=Payment.objects.get(action_url=address).charge_key)
    path = "/api/v1/webhooks/simulator"
    sent = Client().generic("POST", path, body, content_type="application/json", headers=events.signed(body))
    assert sent.status_code == 200


def settled(api: Api, path: str) -> dict[str, Any]:
    """The order or payment once it doesn't wait for its owner any more."""

    def is_settled() -> bool:
        dispatch.enqueue(tasks.advance)
        return api.get(path).json()["status"] not in ("paying", "pending", "requires_action")

    wait_until(is_settled, seconds=20)
    body: dict[str, Any] = api.get(path).json()
    return body


def test_a_call_that_waits_gets_202_at_once_with_the_page_and_then_the_settled_answer(
    api: Api, product: Product
) -> None:
    body = order_of(product, "tok_3ds", points_amount=100)
    began_at = time.monotonic()
    answer = api.post("/orders", body, key="a", Prefer=WAIT)
    assert time.monotonic() - began_at < 10
    order = answer.json()
    assert (answer.status_code, order["status"]) == (202, "paying")
    payment = order["payment"]
    assert payment["status"] == "requires_action"
    assert payment["next_action"]["type"] == "redirect"
    assert set(payment["next_action"]) == {"type", "url", "expires_at"}
    replayed = api.post("/orders", body, key="a", Prefer=WAIT)
    assert (replayed.status_code, replayed.json()) == (202, order)
    assert replayed["Idempotency-Replayed"] == "true"
    read = api.get(f"/payments/{payment['id']}").json()
    assert (read["status"], read["next_action"]) == ("requires_action", payment["next_action"])
    assert api.get(answer["Location"]).json()["payment"] == payment
    assert api.get("/orders").json()["results"][0]["payment"] == payment
    staff = client_of(SuperuserFactory.create())
    assert staff.get(answer["Location"]).json()["payment"] == payment | {"next_action": None}
    assert staff.get(f"/payments/{payment['id']}").json()["next_action"] is None
    refused = api.post(f"/orders/{order['id']}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "order_not_cancellable")
    decide(payment["next_action"]["url"], "approve")
    paid = settled(api, answer["Location"])
    assert (paid["status"], paid["payment"]["status"], paid["payment"]["next_action"]) == (
        "paid",
        "succeeded",
        None,
    )
    assert api.post("/orders", body, key="a").status_code == 201
    timeline = api.get(f"/orders/{order['id']}/timeline").json()["results"]
    assert "charge_card.requires_action" in [line["event"] for line in timeline]


def test_a_top_up_whose_owner_must_act_is_202_at_once_with_the_page(api: Api) -> None:
    body = {"amount": 700, "token": "tok_3ds"}
    answer = api.post("/wallet/top-ups", body, key="a")
    payment = answer.json()
    assert (answer.status_code, payment["status"]) == (202, "requires_action")
    decide(payment["next_action"]["url"], "approve")
    assert settled(api, answer["Location"])["status"] == "succeeded"
    assert api.get("/wallet").json()["balance_amount"] == 1_700
    assert api.post("/wallet/top-ups", body, key="a").status_code == 201


def test_a_refused_card_is_402_every_time_and_the_order_is_paid_with_another(
    api: Api, product: Product
) -> None:
    body = order_of(product, "tok_declined", keep_on_decline=True)
    answer = api.post("/orders", body, key="a", Prefer=WAIT)
    declined = answer.json()
    assert (answer.status_code, declined["code"]) == (402, "payment_declined")
    path = f"/orders/{declined['order']}"
    kept = api.get(path).json()
    assert (kept["status"], kept["payment"]["status"], kept["failure"]) == (
        "awaiting_payment",
        "failed",
        None,
    )
    second = {"order": declined["order"], "token": "tok_3ds", "keep_on_decline": True}
    waiting = api.post("/payments", second, key="b", Prefer=WAIT)
    assert (waiting.status_code, waiting.json()["status"]) == (202, "requires_action")
    decide(waiting.json()["next_action"]["url"], "refuse")
    assert settled(api, waiting["Location"])["failure"]["code"] == "authentication_failed"
    again = api.post("/payments", second, key="b")
    assert (again.status_code, again.json()["payment"]) == (402, waiting.json()["id"])
    third = api.post("/payments", {"order": declined["order"], "token": "tok_ok"}, key="c", Prefer=WAIT)
    assert (third.status_code, third.json()["status"]) == (201, "succeeded")
    paid = api.get(path).json()
    assert (paid["status"], paid["payment"]["id"]) == ("paid", third.json()["id"])
    replayed = api.post("/orders", body, key="a")
    assert (replayed.status_code, replayed.content) == (402, answer.content)
    assert len(api.get(f"/payments?order={declined['order']}").json()["results"]) == 3


def test_a_call_that_did_not_wait_is_402_after_the_order_was_paid_with_another_card(
    api: Api, product: Product
) -> None:
    """The answer of the call is what became of its own payment."""
    body = order_of(product, "tok_declined", keep_on_decline=True)
    order = api.post("/orders", body, key="a").json()
    wait_until(lambda: api.get(f"/orders/{order['id']}").json()["status"] == "awaiting_payment")
    paid = api.post("/payments", {"order": order["id"], "token": "tok_ok"}, key="b", Prefer=WAIT)
    assert paid.status_code == 201
    replayed = api.post("/orders", body, key="a")
    assert (replayed.status_code, replayed.json()["order"]) == (402, order["id"])
    assert replayed.json()["failure"]["code"] == "card_declined"


def test_a_sixth_card_is_409_with_its_reason(api: Api, product: Product) -> None:
    order = api.post("/orders", order_of(product, "tok_declined", keep_on_decline=True), key="0", Prefer=WAIT)
    card = {"order": order.json()["order"], "token": "tok_declined", "keep_on_decline": True}
    answers = [api.post("/payments", card, key=key, Prefer=WAIT) for key in "12345"]
    assert [answer.status_code for answer in answers] == [402] * 4 + [409]
    assert (answers[-1].json()["code"], answers[-1].json()["reason"]) == (
        "order_not_payable",
        "too_many_payments",
    )
