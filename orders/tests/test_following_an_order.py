"""What is logged of purchases by a real web server and a real worker: an order can be followed by its ids."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from coupons.models import Coupon
from inventory.tests.factories import ProductFactory
from orders.models import Saga
from orders.tests import buying, observed_stack
from orders.tests.observed_stack import ObservedStack
from scripts.tests.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-that-no-line-may-quote"


def buy(stack: ObservedStack, buyer: User, token: str) -> Any:
    """A purchase with a coupon, of a product with a telling name; the card's token is in the request's id."""
    product = ProductFactory.create(on_hand=5, price=5_000, name="Confidential present")
    body = {
        "items": [{"product": product.id, "quantity": 1}],
        "coupon": buying.coupon_of(buyer.id).code,
        "payment": {"token": token},
    }
    headers = {"Idempotency-Key": f"{KEY}-{token}", "Prefer": "wait=5", "X-Request-ID": f"request-{token}"}
    return stack.post(buyer, "/orders", body, **headers)


def test_an_order_is_followed_by_its_ids_through_web_and_worker(
    tmp_path: Path, own_gateway: Simulator, own_data_platform: Simulator
) -> None:
    buyer = buying.account()
    buyer.email = "kim@example.com"
    buyer.save()
    with observed_stack.running(tmp_path, own_gateway, own_data_platform) as stack:
        paid = buy(stack, buyer, "tok_ok")
        declined = buy(stack, buyer, "tok_declined")
        unanswered = buy(stack, buyer, "tok_flaky")
    assert [one.status for one in (paid, declined, unanswered)] == [201, 402, 202]

    saga = Saga.objects.get(request_id="request-tok_ok")
    ids = {
        "request_id": "request-tok_ok",
        "order": paid.json()["id"],
        "saga": str(saga.id),
        "account": buyer.id,
    }
    for key in ("order", "request_id", "saga"):
        for process, event in (("web", "order placed"), ("worker", "saga ended")):
            [line] = [
                line for line in stack.lines(process) if line.get(key) == ids[key] and line["event"] == event
            ]
            assert line | ids == line
    assert line | {"kind": "purchase", "state": "done"} == line

    # The task has its request's id, in Celery's own lines as well.
    [task] = [line for line in of_request(stack, "worker", "request-tok_ok") if "task" in line]
    assert task["task"] == "orders.advance"
    assert task["task_id"] in task["event"]

    refusal = Saga.objects.get(request_id="request-tok_declined")
    [ended] = [line for line in of_request(stack, "worker", "request-tok_declined") if "state" in line]
    assert (ended["state"], ended["failure_code"]) == ("compensated", refusal.failure_code)
    assert ended["order"] == str(refusal.about_id)

    # A line from deep inside, of the gateway's client, in a thread that knows no request.
    lines = of_request(stack, "worker", "request-tok_flaky")
    warnings = [line for line in lines if line["event"] == "gateway gave no usable answer"]
    assert warnings
    own = {
        "order": unanswered.json()["id"],
        "saga": str(Saga.objects.get(request_id="request-tok_flaky").id),
        "account": buyer.id,
    }
    assert [line | own for line in warnings] == warnings

    assert secrets_in(stack.text(), buyer) == []


def secrets_in(text: str, buyer: User) -> list[str]:
    """What the logs may not have: keys, tokens, bodies, and what tells who the buyer is."""
    secrets = [KEY, "Confidential", "kim@example.com", buyer.username, "Bearer", "eyJ", "Idempotency"]
    secrets += Coupon.objects.filter(account=buyer).values_list("code", flat=True)
    text = text.replace("request-tok_", "request-")
    return [secret for secret in [*secrets, "tok_"] if secret in text]


def of_request(stack: ObservedStack, process: str, request_id: str) -> list[dict[str, Any]]:
    """The process's lines about the request."""
    return [line for line in stack.lines(process) if line.get("request_id") == request_id]
