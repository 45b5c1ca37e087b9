"""The gate when Redis is unavailable, empty or has wrong data: slower or refused, never oversold."""

import time
from functools import partial

import pytest

from accounts.tests.clients import client_of, problem_of
from foundation.models import IdempotencyKey
from foundation.redis import redis_client
from foundation.tests.racing import race, race_each, wait_until
from inventory import mirror
from inventory.tests.factories import ProductFactory, levels_of
from orders.models import Order
from orders.placement import checkout
from orders.tests import buying
from orders.tests.buying import order_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _gate(settings):
    settings.INVENTORY_STRATEGY = "redis_gate"


def test_without_redis_only_placing_is_503_and_once_it_is_back_units_cancelled_meanwhile_can_be_ordered(
    own_redis, settings
):
    product, buyer = buying.product_and_buyer(on_hand=2)
    api, body = client_of(buyer), order_of(product)
    first = api.post("/orders", body, key="first").json()
    own_redis.stop()
    answer = api.post("/orders", body, key="second")
    assert problem_of(answer) == (503, "unavailable")
    assert answer["Retry-After"] == "1"
    assert Order.objects.count() == IdempotencyKey.objects.count() == 1
    assert api.read(f"/products/{product.id}")["available"] == 1
    assert api.post(f"/orders/{first['id']}/cancel").json()["status"] == "cancelled"
    settings.INVENTORY_STRATEGY = "group_commit"
    assert api.post("/orders", body, key="third").status_code == 201
    settings.INVENTORY_STRATEGY = "redis_gate"
    own_redis.start()
    wait_until(lambda: api.post("/orders", body, key="second").status_code == 201)


def test_flushed_in_the_middle_of_a_race_it_still_sells_exactly_what_there_is(redis_server):
    product = ProductFactory(on_hand=50)
    calls = [partial(checkout.place, buying.request_of_newcomer(product)) for _ in range(100)]
    calls[20::20] = [redis_server.flushdb] * len(calls[20::20])
    race(calls)
    left = 50 - Order.objects.count()
    for _ in range(left):
        buying.place_for_newcomer(product)
    assert levels_of(product) == (50, 50)


def test_a_mirror_that_shows_too_much_does_not_oversell():
    product = ProductFactory(on_hand=5)
    mirror.publish([mirror.StockState(product.id, 1_000, 10**6, True)])
    order_requests = [buying.request_of_newcomer(product) for _ in range(20)]
    outcomes = race_each(checkout.place, order_requests)
    assert buying.kinds(outcomes) == {"PlacedOrder": 5, "insufficient_stock": 15}


def test_after_any_number_of_orders_none_is_in_flight_and_the_mirror_has_not_drifted():
    product, buyer = buying.product_and_buyer(on_hand=20)
    code = buying.coupon_code(buyer)
    order_requests = [buying.request_of_newcomer(product) for _ in range(30)]
    order_requests += [buying.order_request(buyer, product, coupon=code) for _ in range(10)]
    race_each(checkout.place, order_requests)
    assert not redis_client.client().hlen(mirror.IN_FLIGHT)
    assert (mirror.heal(), mirror.drift()) == (0, 0)


def test_in_the_wrong_order_of_updates_the_mirror_refuses_available_units():
    """The naive version: the mirror is updated first, and for a moment the sold units count twice."""
    product = ProductFactory(on_hand=2)
    first, second = (mirror.GateReservation(name, {product.id: 1}) for name in ("first", "second"))
    assert mirror.admit(first) == []
    mirror.publish([mirror.StockState(product.id, 1, 1, True)])
    assert mirror.admit(second) != []
    mirror.clear_in_flight([first])
    assert mirror.admit(second) == []


def test_a_gate_that_decides_alone_sells_twice_after_it_was_flushed(redis_server):
    """The naive version: the gate alone decides, and units that Redis forgets are sold again."""
    product = ProductFactory(on_hand=3)

    def sell(count):
        passages = [mirror.GateReservation(f"{time.monotonic()}", {product.id: 1}) for _ in range(count)]
        return sum(mirror.admit(passage) == [] for passage in passages)

    assert sell(5) == 3
    redis_server.flushdb()
    assert sell(5) == 3
