"""The responses to top-ups, cards and unknown cards, as docs/api-decisions.md decides.

A real worker charges the cards.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying
from orders.tests.buying import order_of
from payments.gateways import gateway
from shop.tests.clients import Api, client_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]


@pytest.fixture
def api(buyer: Any) -> Iterator[Api]:
    """The API of the buyer; waits for the worker before the tables are emptied."""
    yield client_of(buyer)
    buying.settle_everything()


def refused(response: Any) -> tuple[int, str]:
    assert response["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


def test_a_top_up_is_201_with_its_payment_once_the_card_is_charged(api: Api) -> None:
    answer = api.post("/wallet/top-ups", {"amount": 700, "token": "tok_ok"}, key="a")

    payment = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"/api/v1/payments/{payment['id']}"
    assert {**payment, "created_at": "", "id": ""} == {
        "id": "",
        "order": None,
        "status": "succeeded",
        "points_amount": 0,
        "card_amount": 700,
        "failure": None,
        "dispute": None,
        "created_at": "",
        "next_action": None,
    }
    assert api.get(answer["Location"]).json() == payment


@pytest.mark.parametrize(("token", "status"), [("tok_webhook", "pending"), ("tok_flaky", "in_doubt")])
def test_a_top_up_is_202_with_its_payment_while_the_outcome_is_not_known(
    token: str, status: str, api: Api
) -> None:
    answer = api.post("/wallet/top-ups", {"amount": 700, "token": token}, key="a")

    payment = answer.json()
    assert (answer.status_code, payment["status"], payment["card_amount"]) == (202, status, 700)
    assert answer["Location"] == f"/api/v1/payments/{payment['id']}"
    assert api.get("/wallet").json()["balance_amount"] == 1_000


@pytest.mark.parametrize(
    ("token", "code"), [("tok_declined", "card_declined"), ("tok_of_a_stranger", "unknown_token")]
)
def test_a_declined_top_up_is_402_with_the_payment_and_why_it_failed(token: str, code: str, api: Api) -> None:
    answer = api.post("/wallet/top-ups", {"amount": 700, "token": token}, key="a")

    problem = answer.json()
    assert refused(answer) == (402, "payment_declined")
    assert problem["failure"] == {"code": code, "detail": problem["detail"]}
    assert "order" not in problem
    payment = api.get(f"/payments/{problem['payment']}").json()
    assert (payment["status"], payment["failure"]) == ("failed", problem["failure"])


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", 'foo="wait=1"', "respond-async"])
def test_a_top_up_with_an_invalid_preference_is_answered_as_without_one(prefer: str, api: Api) -> None:
    answer = api.post("/wallet/top-ups", {"amount": 700, "token": "tok_ok"}, key="a", Prefer=prefer)

    assert (answer.status_code, answer.json()["status"]) == (201, "succeeded")


def test_an_unknown_card_token_is_a_declined_payment_whose_failure_says_unknown_token(api: Api) -> None:
    product = ProductFactory.create(on_hand=9)
    items = [{"product": product.id, "quantity": 1}]
    body = {"items": items, "payment": {"token": "tok_of_a_stranger"}}

    answer = api.post("/orders", body, key="a", Prefer="wait=20")

    assert refused(answer) == (402, "payment_declined")
    assert answer.json()["failure"]["code"] == "unknown_token"
    assert "tok_of_a_stranger" not in answer.content.decode()
    order = api.get(f"/orders/{answer.json()['order']}").json()
    assert (order["status"], order["failure"]) == ("payment_failed", answer.json()["failure"])
    assert api.get(f"/products/{product.id}").json()["available"] == 9
    assert not list(gateway().charges())


def test_a_declined_payment_is_explained_in_the_language_of_the_first_call(
    api: Api, product: Product
) -> None:
    body = order_of(product, "tok_insufficient_funds")
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
