"""Paying over HTTP with a real worker: a call that waits gets the settled answer."""

from typing import Any

import pytest

from inventory.models import Product
from orders.models import Order
from orders.tests import buying
from payments import ledger
from payments.gateways import gateway
from shop.tests.clients import Api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]


def items(product: Product, quantity: int = 1) -> dict[str, Any]:
    return {"items": [{"product": product.id, "quantity": quantity}]}


def test_a_call_that_waits_gets_the_settled_answer(api: Api, buyer: Any, product: Product) -> None:
    coupon = buying.coupon_of(buyer.id, discount_value=300).code
    body = items(product, 2) | {"coupon": coupon, "points_amount": 200, "payment": {"token": "tok_ok"}}
    answer = api.post("/orders", body, key="a", Prefer="respond-async, wait=20")
    order = answer.json()
    assert answer.status_code == 201
    assert (order["status"], order["coupon"]) == ("paid", coupon)
    assert (order["items_amount"], order["discount_amount"]) == (1_000, 300)
    assert (order["points_amount"], order["card_amount"], order["total_amount"]) == (200, 500, 700)
    assert [one.kept_amount for one in gateway().charges(order_id=order["id"])] == [500]
    assert ledger.balance_amount(buyer.id) == 800
    replayed = api.post("/orders", body, key="a")
    assert (replayed.status_code, replayed.content) == (201, answer.content)
    assert replayed["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in answer
    assert buying.broken_laws() == []


def test_a_declined_payment_is_explained_in_the_language_of_the_first_call(
    api: Api, product: Product
) -> None:
    body = items(product) | {"payment": {"token": "tok_insufficient_funds"}}
    first = api.post("/orders", body, key="a", Prefer="wait=20", **{"Accept-Language": "ko"})
    again = api.post("/orders", body, key="a", Prefer="wait=20", **{"Accept-Language": "en"})

    declined = first.json()
    assert (first.status_code, declined["detail"]) == (402, "카드의 잔액이 부족합니다.")
    assert declined["failure"] == {"code": "insufficient_funds", "detail": "카드의 잔액이 부족합니다."}
    assert (again.content, again["Idempotency-Replayed"]) == (first.content, "true")
    for language, detail in (("ko", "카드의 잔액이 부족합니다."), ("en", "The card has insufficient funds.")):
        order = api.get(f"/orders/{declined['order']}", **{"Accept-Language": language}).json()
        assert order["failure"] == {"code": "insufficient_funds", "detail": detail}
    assert Order.objects.get(id=declined["order"]).failure_detail == "The card has insufficient funds."
