"""Placement: a batch costs the same few statements whatever its size; each request gets its own answer."""

from dataclasses import replace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inventory.tests.factories import ProductFactory
from orders import schemas
from orders.models import Order
from orders.placement.decisions import OrderRequest, PlacedOrder, PlacementResult
from orders.placement.strategies import group_commit
from orders.tests import buying
from shop.errors import KeyReused, Rejected
from shop.idempotency.recorded_answers import Replay
from shop.models import JournalLine

pytestmark = pytest.mark.django_db


def decide(*order_requests: OrderRequest) -> list[PlacementResult]:
    """The results of one batch, as the batcher would decide it."""
    return group_commit.place_batch(order_requests)


def statements(
    count: int, *, token: str | None = None, coupon: bool = False, points: int = 0, limit: int | None = None
) -> int:
    """The number of statements for a batch of orders of three lines, without BEGIN and COMMIT."""
    products = ProductFactory.create_batch(30, on_hand=count, price=1_000, limit_per_account=limit)
    order_requests = []
    for index in range(count):
        buyer, some = buying.account(points=points), products[index % 28 :][:3]
        code = buying.coupon_of(buyer.id).code if coupon else ""
        order_requests.append(
            buying.order_request(buyer.id, dict.fromkeys(some, 1), token=token, coupon=code, points=points)
        )
    with CaptureQueriesContext(connection) as captured:
        outcomes = decide(*order_requests)
    assert all(isinstance(outcome, PlacedOrder) for outcome in outcomes)
    return sum("SAVEPOINT" not in query["sql"] for query in captured)


def test_orders_cost_nine_statements_whatever_their_number() -> None:
    """One of them reads the unpaid orders of the accounts, and one writes the events of the feed."""
    assert [statements(count) for count in (1, 10, 100)] == [9, 9, 9]


def test_products_with_a_limit_cost_one_statement_more_whatever_the_number() -> None:
    assert [statements(count, limit=5) for count in (1, 10, 100)] == [9 + 1] * 3


def test_coupons_cost_two_statements_more_and_points_one_whatever_their_number() -> None:
    """Coupons: found with their campaigns, held. Points: the balances."""
    assert [statements(count, coupon=True) for count in (1, 10, 100)] == [9 + 2] * 3
    assert [statements(count, points=100) for count in (1, 10, 100)] == [9 + 1] * 3
    assert [statements(count, coupon=True, points=100) for count in (1, 10, 100)] == [9 + 2 + 1] * 3


def test_paying_at_once_costs_three_more() -> None:
    assert statements(25, token="tok_ok") == statements(25) + 3


def test_a_batch_locks_its_products_by_one_statement_and_notes_what_each_order_reserved() -> None:
    product = ProductFactory.create(on_hand=3)
    with CaptureQueriesContext(connection) as captured:
        decide(*(buying.order_request(buying.account().id, {product: quantity}) for quantity in (1, 2)))
    locking = [query["sql"] for query in captured if query["sql"].rstrip().endswith("FOR UPDATE")]
    assert ["inventory_product" in statement for statement in locking].count(True) == 1
    lines = JournalLine.objects.filter(what="order.placed").order_by("id")
    reserved = [one for line in lines for one in line.after["reserved"]]
    assert [(one["before"], one["after"]) for one in reserved] == [(0, 1), (1, 3)]


def test_one_key_twice_in_a_batch_is_one_order() -> None:
    order_request = buying.order_request(
        buying.account().id, {ProductFactory.create(on_hand=9): 1}, key="same"
    )
    first, second = decide(order_request, order_request)
    assert isinstance(first, PlacedOrder)
    assert isinstance(second, Replay)
    assert second.reference == first.order.id
    assert second.answer == schemas.placed_order_answer(first)
    assert Order.objects.count() == 1


def test_one_key_with_two_bodies_in_a_batch_is_refused_the_second_time() -> None:
    order_request = buying.order_request(
        buying.account().id, {ProductFactory.create(on_hand=9): 1}, key="same"
    )
    other = replace(order_request, keyed=replace(order_request.keyed, fingerprint="another body"))
    first, second = decide(order_request, other)
    assert isinstance(first, PlacedOrder)
    assert isinstance(second, KeyReused)


def test_units_reserved_in_a_batch_are_not_available_to_its_later_orders() -> None:
    product = ProductFactory.create(on_hand=3)
    order_requests = [buying.order_request(buying.account().id, {product: 2}) for _ in range(2)]
    first, second = decide(*order_requests)
    assert isinstance(first, PlacedOrder)
    assert isinstance(second, Rejected)
    assert second.extra["items"] == [{"product": product.id, "requested": 2, "available": 1}]


def test_a_refused_order_leaves_the_coupon_to_the_next() -> None:
    buyer, product = buying.account(), ProductFactory.create(on_hand=1, price=5_000)
    code = buying.coupon_of(buyer.id).code
    too_many = buying.order_request(buyer.id, {product: 2}, coupon=code)
    first, second = decide(too_many, buying.order_request(buyer.id, {product: 1}, coupon=code))
    assert isinstance(first, Rejected)
    assert isinstance(second, PlacedOrder)
    assert second.order.discount_amount == 1_000
