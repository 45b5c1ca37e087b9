"""Two processes that sell the same stock, with every strategy; and one that is killed."""

import json
import time

import pytest
from django.conf import LazySettings

from inventory.mirror import healing, mirror
from inventory.mirror.healing import IN_FLIGHT_SECONDS
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.placement import checkout
from orders.tests import buying
from orders.tests.selling import SELLING, sell_at_once, send, two_sellers
from shop.errors import Rejected
from shop.redis import redis_client
from shop.tests.racing import wait_until
from shop.tests.second_connection import holding
from shop.tests.second_process import another_process

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_processes_sell_stock_of_60_to_exactly_60() -> None:
    found = {}
    with two_sellers() as sellers:
        for strategy in checkout.STRATEGIES:
            product = ProductFactory.create(on_hand=60)
            accounts = [buying.account().id for _ in range(100)]
            outcomes = sell_at_once(sellers, product, (accounts[:50], accounts[50:]), strategy=strategy)
            found[strategy] = (outcomes, levels_of(product))
    exact = {"PlacedOrder": 60, "insufficient_stock": 40}, (60, 60)
    assert found == dict.fromkeys(checkout.STRATEGIES, exact)
    assert buying.broken_laws() == []


def test_units_that_a_killed_process_took_from_the_gate_are_released(settings: LazySettings) -> None:
    settings.INVENTORY_STRATEGY = "redis_gate"
    product, buyer = ProductFactory.create(on_hand=1), buying.account()
    with (
        holding("SELECT id FROM inventory_product WHERE id = %s FOR UPDATE", product.id),
        another_process(SELLING) as seller,
    ):
        send(seller, json.dumps(["redis_gate", product.id, 1, [buyer.id]]))
        send(seller, "go")
        wait_until(lambda: redis_client.client().hlen(mirror.IN_FLIGHT) == 1)
        seller.kill()
        seller.wait()
    with pytest.raises(Rejected):
        buying.place(buying.account().id, {product: 1})
    healing.heal(now=time.time() + IN_FLIGHT_SECONDS + 1)
    buying.place(buying.account().id, {product: 1})
    assert Order.objects.count() == 1
    assert buying.broken_laws() == []


def levels_of(product: Product) -> tuple[int, int]:
    product.refresh_from_db()
    return product.on_hand, product.reserved
