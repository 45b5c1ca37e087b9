"""Two processes that sell the same stock, with every strategy; and one that is killed."""

import time

import pytest
from django.conf import LazySettings

from inventory.mirror import mirror
from inventory.mirror.mirror import IN_FLIGHT_SECONDS
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.placement import checkout
from orders.placement.strategies import redis_gate
from orders.tests import buying
from orders.tests.selling import sell_at_once, two_sellers
from orders.tests.test_strategies import levels_of
from shop.errors import Rejected
from shop.redis import redis_client

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.boots("another process of the shop", in_first_circle=True)
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
    # It was admitted, and had committed nothing.
    assert mirror.admit(redis_gate._gate_reservation(buying.order_request(buyer.id, {product: 1}))) == []
    assert redis_client.client().hlen(mirror.IN_FLIGHT) == 1
    with pytest.raises(Rejected):
        buying.place(buying.account().id, {product: 1})
    mirror.heal(now=time.time() + IN_FLIGHT_SECONDS + 1)
    buying.place(buying.account().id, {product: 1})
    assert Order.objects.count() == 1
    assert buying.broken_laws() == []
