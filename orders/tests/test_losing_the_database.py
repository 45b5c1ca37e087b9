"""The database is lost once a payment was started: the call is answered as started, since it continues."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.tests import buying
from payments import ledger
from payments.models import Payment
from shop.redis import completion_notifications
from shop.tests.clients import client_of
from shop.tests.hung_server import relayed
from shop.tests.racing import race, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def buyer() -> Any:
    return buying.account(points=100)


def somebody_waits() -> bool:
    """Whether a call of this process waits: what it started is committed then."""
    return bool(completion_notifications._waiting)


def answer_while_losing_it(folder: Path, call: Callable[[], Any], *, once: Callable[[], bool]) -> Any:
    """The answer to a call during which the database is lost, from `once()` until the answer."""
    with relayed(folder) as relay:

        def lose() -> None:
            wait_until(once)
            relay.close()

        answer, _ = race([call, lose])
    return answer


def test_an_order_whose_request_waits_is_answered_as_started(buyer: Any, tmp_path: Path) -> None:
    product, api = ProductFactory.create(on_hand=1), client_of(buyer)
    body = {"items": [{"product": product.id, "quantity": 1}], "payment": {"token": "tok_ok"}}

    def place() -> Any:
        return api.post("/orders", body, key="a", Prefer="wait=20")

    answer = answer_while_losing_it(tmp_path, place, once=somebody_waits)
    order = Order.objects.get()
    assert (answer.status_code, answer.json()["status"]) == (202, "paying")
    assert (answer.json()["id"], answer["Location"]) == (str(order.id), f"/api/v1/orders/{order.id}")
    buying.settle_everything()
    replayed = place()
    assert (replayed.status_code, replayed.json()["id"]) == (201, str(order.id))
    assert buying.broken_laws() == []


def test_a_payment_whose_request_waits_is_answered_as_started(buyer: Any, tmp_path: Path) -> None:
    order = buying.place(buyer.id, {ProductFactory.create(on_hand=1): 1}).order
    body, api = {"order": str(order.id), "token": "tok_ok"}, client_of(buyer)
    answer = answer_while_losing_it(
        tmp_path, lambda: api.post("/payments", body, key="a", Prefer="wait=20"), once=somebody_waits
    )
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert answer.json()["id"] == str(Payment.objects.get().id)


def test_a_top_up_that_is_being_charged_is_answered_as_started(buyer: Any, tmp_path: Path) -> None:
    body, api = {"amount": 500, "token": "tok_slow"}, client_of(buyer)
    answer = answer_while_losing_it(
        tmp_path,
        lambda: api.post("/wallet/top-ups", body, key="a"),
        once=Saga.objects.exclude(lease_token="").exists,
    )
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert answer.json()["id"] == str(Payment.objects.get().id)
    buying.settle_everything()
    assert ledger.balance_amount(buyer.id) == 600
    assert buying.broken_laws() == []
