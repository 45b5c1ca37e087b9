"""Orders of a product that another process leads: no order twice, none without stock, whatever befalls it."""

import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.placement import checkout
from orders.placement.decisions import OrderRequest, PlacedOrder
from orders.placement.strategies import group_commit
from orders.tests import buying
from orders.tests.buying import kinds
from shop.redis import redis_client
from shop.redis.handover import leadership, messages, serving
from shop.redis.handover.messages import HandedOver
from shop.tests.handover_leaders import handed_over, leading, result
from shop.tests.lost_replies import losing_reply_to_commit
from shop.tests.outages import OwnRedis, own_redis
from shop.tests.racing import race, wait_until
from shop.tests.samples import Increases
from shop.tests.second_connection import holding
from shop.tests.waiting import in_background, waiting_at

__all__ = ["own_redis"]
pytestmark = pytest.mark.django_db(transaction=True)
LOCK = "SELECT id FROM inventory_product WHERE id = %s FOR UPDATE"
AT_LOCK = "%FROM inventory_product WHERE id IN%FOR UPDATE%"


@pytest.fixture(autouse=True)
def _handed_over(settings: LazySettings) -> None:
    settings.HAND_OVER_BATCHES = True


@pytest.fixture
def product() -> Product:
    made: Product = ProductFactory.create(on_hand=10, price=700)
    return made


def requests_for(product: Product, count: int, **wanted: Any) -> list[OrderRequest]:
    return [buying.order_request(buying.account().id, {product: 1}, **wanted) for _ in range(count)]


def assert_reserved(product: Product, units: int) -> None:
    product.refresh_from_db()
    assert product.reserved == Order.objects.count() == units
    assert buying.broken_laws() == []


@pytest.mark.boots("another process of the shop")
def test_a_leader_places_the_orders_of_others_and_they_get_their_own_outcomes(product: Product) -> None:
    requests = requests_for(product, 15)
    count = handed_over()
    with leading("orders", product.pk):
        outcomes = group_commit.decide_batch(requests)
        again = group_commit.decide_batch(requests)

    assert kinds(outcomes) == {"PlacedOrder": 10, "insufficient_stock": 5}
    assert kinds(again) == {"Replay": 10, "insufficient_stock": 5}
    for request, placed, replayed in zip(requests[:10], outcomes, again, strict=False):
        assert isinstance(placed, PlacedOrder)
        order = Order.objects.get(pk=placed.order.id)
        assert (order.account_id, order.total_amount) == (request.account_id, 700)
        assert placed.answer == replayed.answer is not None
    assert count() == {result("orders", "decided"): 2}
    assert_reserved(product, 10)


@pytest.mark.boots("another process of the shop")
def test_a_single_order_is_handed_over_while_its_product_is_hot(product: Product) -> None:
    first, *others = requests_for(product, 4)
    count = handed_over()
    with leading("orders", product.pk):
        group_commit.decide_batch([first])
        assert count() == {}
        group_commit.decide_batch(others[:2])
        group_commit.decide_batch(others[2:])
    assert count() == {result("orders", "decided"): 2}
    assert_reserved(product, 4)


def test_a_leader_places_its_own_orders_in_the_transactions_of_those_handed_over(product: Product) -> None:
    others, own = requests_for(product, 3), requests_for(product, 4)
    batcher = group_commit.BATCHER_FOR_OTHERS
    inbox = leadership.own_inbox()
    assert leadership.leader_of(serving.row_name("orders", product.pk)) == inbox
    count = Increases("firstcome_batch_requests_sum")
    serving.start()
    with holding(LOCK, product.pk):
        message = messages.pack(inbox, HandedOver("orders", product.pk, "reply of this test", others))
        redis_client.client().rpush(inbox, message)
        wait_until(lambda: waiting_at(AT_LOCK) == 1)
        deciding = in_background(lambda: group_commit.decide_batch(own))
        lead = batcher._lead
        wait_until(lambda: lead is not None and len(lead.batch) + len(batcher._queue) == 7)
        assert waiting_at(AT_LOCK) == 1
    assert kinds(deciding.result(20)) == {"PlacedOrder": 4}
    assert count() == {'firstcome_batch_requests_sum{batcher="orders_handed_over"}': 7}
    assert_reserved(product, 7)


@pytest.mark.boots("another process of the shop")
def test_a_leader_without_replies_is_avoided_for_a_while(product: Product) -> None:
    first, second = requests_for(product, 2), requests_for(product, 2)
    with leading("orders", product.pk, end="silent"):
        assert kinds(group_commit.decide_batch(first)) == {"PlacedOrder": 2}
        began_at = time.monotonic()
        assert kinds(group_commit.decide_batch(second)) == {"PlacedOrder": 2}
        assert time.monotonic() - began_at < 2
    assert_reserved(product, 4)


@pytest.mark.boots("another process of the shop")
def test_a_batch_that_its_leader_could_not_decide_is_decided_here(product: Product) -> None:
    with leading("orders", product.pk, end="unavailable"):
        assert kinds(group_commit.decide_batch(requests_for(product, 2))) == {"PlacedOrder": 2}
    assert_reserved(product, 2)


@pytest.mark.parametrize("value", [b"firstcome:handover:other:inbox:1", b"\xff", b""])
def test_a_lease_that_no_process_of_this_shop_took_leads_nothing(product: Product, value: bytes) -> None:
    lease = f"firstcome:handover:{messages.peers()}:leader:{serving.row_name('orders', product.pk)}"
    redis_client.client().set(lease, value, px=2_000)
    assert kinds(group_commit.decide_batch(requests_for(product, 2))) == {"PlacedOrder": 2}
    redis_client.client().set(lease, value)
    leadership.forget()
    assert leadership.leader_of(serving.row_name("orders", product.pk)) == leadership.own_inbox()


@pytest.mark.boots("another process of the shop")
def test_an_order_that_is_paid_at_once_comes_back_with_its_saga(product: Product) -> None:
    with leading("orders", product.pk):
        outcomes = group_commit.decide_batch(requests_for(product, 3, token="tok_ok"))
    assert {placed.started.saga.id for placed in outcomes} == set(Saga.objects.values_list("id", flat=True))
    for placed in outcomes:
        assert buying.advance(placed).status == Order.Status.PAID


@pytest.mark.boots("another process of the shop")
def test_100_orders_in_two_processes_get_exactly_the_stock(product: Product) -> None:
    requests = requests_for(product, 100)
    with leading("orders", product.pk):
        outcomes = race([lambda request=request: checkout.place(request) for request in requests])  # type: ignore[misc]
    assert kinds(outcomes) == {"PlacedOrder": 10, "insufficient_stock": 90}
    assert_reserved(product, 10)


@pytest.mark.boots("another process of the shop")
def test_orders_of_other_products_stay_in_this_process(product: Product) -> None:
    other = ProductFactory.create(on_hand=10)
    hot, cold = requests_for(product, 3), requests_for(other, 2)
    with leading("orders", product.pk):
        outcomes = group_commit.decide_batch([hot[0], cold[0], hot[1], cold[1], hot[2]])
    assert kinds(outcomes) == {"PlacedOrder": 5}
    of = [outcome.lines[0].product_id for outcome in outcomes]
    assert of == [product.pk, other.pk, product.pk, other.pk, product.pk]


@pytest.mark.boots("another process of the shop")
def test_one_key_in_two_processes_is_one_order(product: Product) -> None:
    buyer = buying.account()
    twice = [buying.order_request(buyer.id, {product: 1}, key="only-once") for _ in range(2)]
    with leading("orders", product.pk):
        outcomes = [*group_commit.decide_batch(twice), *group_commit.place_batch(twice)]
    assert kinds(outcomes) == {"PlacedOrder": 1, "Replay": 3}
    assert_reserved(product, 1)


@pytest.mark.boots("another process of the shop")
def test_a_leader_that_is_killed_before_its_commit_has_placed_nothing(product: Product) -> None:
    requests = requests_for(product, 4)
    with leading("orders", product.pk) as leader:
        with holding(LOCK, product.pk):
            deciding = in_background(lambda: group_commit.decide_batch(requests))
            wait_until(lambda: waiting_at(AT_LOCK) == 1)
            leader.kill()
        outcomes = deciding.result(20)
    assert kinds(outcomes) == {"PlacedOrder": 4}
    assert_reserved(product, 4)


@pytest.mark.boots("another process of the shop")
def test_a_leader_that_is_killed_after_its_commit_has_placed_them_once(product: Product) -> None:
    requests = requests_for(product, 15)
    with leading("orders", product.pk, end="after_commit"):
        outcomes = group_commit.decide_batch(requests)
    assert kinds(outcomes) == {"Replay": 10, "unavailable": 5}
    assert_reserved(product, 10)


def test_a_leader_that_still_works_when_the_batch_is_decided_again_places_nothing_twice(
    product: Product, own_redis: OwnRedis
) -> None:
    """Redis is killed while the leader waits for the lock: both decide, and each key has one order."""
    requests = requests_for(product, 4)
    with leading("orders", product.pk, REDIS_URL=own_redis.url):
        with holding(LOCK, product.pk):
            deciding = in_background(lambda: group_commit.decide_batch(requests))
            wait_until(lambda: waiting_at(AT_LOCK) == 1)
            own_redis.kill()
            wait_until(lambda: waiting_at(AT_LOCK) == 2)
        outcomes = deciding.result(20)
        wait_until(lambda: waiting_at(AT_LOCK) == 0)
    assert set(kinds(outcomes)) <= {"PlacedOrder", "Replay"}
    assert_reserved(product, 4)


@pytest.mark.boots("another process of the shop")
def test_a_lost_reply_to_the_commit_of_the_second_decision_places_nothing_twice(
    product: Product, tmp_path: Path
) -> None:
    requests = requests_for(product, 4)
    with leading("orders", product.pk) as leader:
        leader.kill()
        leader.wait()
        with losing_reply_to_commit(tmp_path) as is_lost:
            outcomes = group_commit.decide_batch(requests)
            assert is_lost.is_set()
    assert set(kinds(outcomes)) <= {"PlacedOrder", "Replay"}
    assert_reserved(product, 4)
