"""Without Redis and the broker orders still work, in a real web process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying
from orders.tests.buying import order_of
from orders.tests.observed_stack import LiveShop
from scripts.stack import ports
from scripts.tests.simulator import Simulator
from shop.tests import live

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.boots("a web server", in_first_circle=True),
]


@pytest.fixture(scope="module")
def address(
    django_db_setup: None, gateway_process: tuple[Simulator, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A web process whose Redis and broker are unused ports."""
    gateway_url = f"http://{ports.HOST}:{gateway_process[0].port}"
    unreachable = f"redis://{ports.HOST}:{ports.free()}/0"
    folder = tmp_path_factory.mktemp("web")
    with live.web(folder, REDIS_URL=unreachable, BROKER_URL=unreachable, GATEWAY_URL=gateway_url) as url:
        yield url


def call(address: str, buyer: Any, path: str, body: dict[str, Any], key: str) -> tuple[int, Any]:
    answer = LiveShop(address).post(buyer, path, body, key=key, Prefer="wait=20")
    return answer.status, answer.json()


def test_an_order_is_placed_paid_and_replayed(address):
    buyer = buying.account(points=1_000)
    product: Product = ProductFactory.create(on_hand=3, price=500)
    coupon = buying.coupon_of(buyer.id, discount_value=100).code
    body = order_of(product, "tok_ok", quantity=2, coupon=coupon, points_amount=200)
    key = str(uuid4())
    status, order = call(address, buyer, "/orders", body, key)
    assert (status, order["status"], order["card_amount"]) == (201, "paid", 700)
    assert call(address, buyer, "/orders", body, key) == (201, order)
    assert Order.objects.count() == 1


def test_a_declined_card_is_402_and_the_order_is_compensated(address):
    buyer, product = buying.account(), ProductFactory.create(on_hand=1, price=500)
    status, problem = call(address, buyer, "/orders", order_of(product, "tok_declined"), str(uuid4()))
    assert (status, problem["code"]) == (402, "payment_declined")


def test_a_coupon_is_issued_and_a_wallet_topped_up(address):
    buyer = buying.account()
    campaign_id = buying.coupon_of(buying.account().id, quantity=2).campaign_id
    assert call(address, buyer, "/coupons", {"campaign": campaign_id}, "unused")[0] == 201
    assert call(address, buyer, "/wallet/top-ups", {"amount": 5, "token": "tok_ok"}, "top")[0] == 201
