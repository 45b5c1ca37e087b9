"""What an unpaid order holds past its time is free for the next order at once, without the sweep."""

from collections.abc import Callable
from functools import partial

import pytest

from accounts.tests.clients import new_customer, problem_of
from coupons.tests.factories import CampaignFactory
from foundation.errors import Rejected
from foundation.tests.instants import ago
from foundation.tests.racing import race
from foundation.tests.second_connection import holding
from foundation.tests.statements import captured_statements
from foundation.tests.waiting import within
from inventory.tests.factories import ProductFactory
from orders import cancellation
from orders.models import Order
from orders.placement import checkout
from orders.placement.decisions import PlacedOrder
from orders.tests import buying

pytestmark = pytest.mark.django_db(transaction=True)
LOCK = "SELECT id FROM orders_order WHERE id = %s FOR UPDATE"


def lapse():
    """Let the time to pay of all orders pass."""
    Order.objects.update(expires_at=ago(seconds=1))


def of_stock(settings) -> tuple[PlacedOrder, Callable[[], PlacedOrder]]:
    product = ProductFactory(on_hand=3)
    placed = buying.place_for_newcomer(product, 2)
    return placed, partial(buying.place, buying.account(), {product: 3})


def of_a_coupon(settings) -> tuple[PlacedOrder, Callable[[], PlacedOrder]]:
    product, buyer = buying.product_and_buyer(on_hand=9, price=5_000)
    place = partial(buying.place, buyer, product, coupon=buying.coupon_code(buyer))
    return place(), place


def of_a_shared_code(settings) -> tuple[PlacedOrder, Callable[[], PlacedOrder]]:
    product, buyer = buying.product_and_buyer(on_hand=9, price=5_000)
    CampaignFactory(code_source="shared", shared_code="WINTER")
    place = partial(buying.place, buyer, product, coupon="WINTER")
    return place(), place


def of_the_first_order(settings) -> tuple[PlacedOrder, Callable[[], PlacedOrder]]:
    product, buyer = buying.product_and_buyer(on_hand=9, price=5_000)
    coupon = buying.coupon_of(buyer, first_order_only=True)
    placed = buying.place(buyer, ProductFactory(on_hand=1))
    return placed, partial(buying.place, buyer, product, coupon=coupon.code)


def of_a_products_limit(settings) -> tuple[PlacedOrder, Callable[[], PlacedOrder]]:
    product, buyer = buying.product_and_buyer(on_hand=9, limit_per_account=2)
    return buying.place(buyer, product), partial(buying.place, buyer, {product: 2})


def of_unpaid_units(settings) -> tuple[PlacedOrder, Callable[[], PlacedOrder]]:
    settings.OPEN_UNITS_PER_ACCOUNT = 4
    product, buyer = buying.product_and_buyer(on_hand=9)
    return buying.place(buyer, {product: 4}), partial(buying.place, buyer, product)


def of_unpaid_orders(settings) -> tuple[PlacedOrder, Callable[[], PlacedOrder]]:
    settings.OPEN_ORDERS_PER_ACCOUNT = 1
    buyer, (one, other) = buying.account(), ProductFactory.create_batch(2, on_hand=9)
    return buying.place(buyer, one), partial(buying.place, buyer, other)


HOLDS = [
    *(of_stock, of_a_coupon, of_a_shared_code, of_the_first_order),
    *(of_a_products_limit, of_unpaid_units, of_unpaid_orders),
]


LOCKING = ["group_commit", "pessimistic", "optimistic"]
"""The strategies that read the stock itself for every refusal."""
EACH = [(strategy, hold) for strategy in LOCKING for hold in HOLDS] + [
    ("redis_gate", one) for one in HOLDS[1:]
]
each = pytest.mark.parametrize(("strategy", "hold"), EACH, indirect=["strategy"])


@each
def test_what_a_lapsed_order_holds_is_free_for_the_next_order(hold, strategy, settings):
    first, place = hold(settings)
    with pytest.raises(Rejected) as refused:
        place()
    assert refused.value.retry_after is None, "it may be paid"
    lapse()
    placed = place()
    assert buying.status_of(first) == "expired"
    assert buying.status_of(placed) == "awaiting_payment"
    assert cancellation.expire_due() == 0


@each
def test_a_refusal_for_a_lapsed_order_that_is_locked_waits_for_no_lock_and_passes_by_itself(
    hold, strategy, settings
):
    first, place = hold(settings)
    lapse()
    with holding(LOCK, first.order.id.hex), within(3), pytest.raises(Rejected) as refused:
        place()
    assert refused.value.retry_after == 1
    place()


def test_the_refusal_of_a_call_has_its_retry_after():
    product = ProductFactory(on_hand=1)
    first = buying.place_for_newcomer(product)
    lapse()
    api = new_customer()
    with holding(LOCK, first.order.id.hex):
        answer = api.post("/orders", buying.order_of(product), key="mine")
        assert problem_of(answer) == (409, "insufficient_stock")
        assert answer["Retry-After"] == "1"
    assert api.post("/orders", buying.order_of(product), key="mine").status_code == 201


@pytest.mark.parametrize("strategy", LOCKING, indirect=True)
def test_40_orders_at_once_share_what_lapsed_orders_held_and_no_unit_is_released_twice(strategy, settings):
    settings.OPTIMISTIC_RETRIES = 500
    product = ProductFactory(on_hand=7)
    for _ in range(7):
        buying.place_for_newcomer(product)
    lapse()
    requests = [buying.request_of_newcomer(product) for _ in range(40)]
    calls = [partial(checkout.place, request) for request in requests]
    outcomes = race([*calls, cancellation.expire_due, cancellation.expire_due])
    placed = buying.kinds(outcomes[:40])["PlacedOrder"]
    # None, where the sweeps were ending all of them just then.
    assert placed <= 7
    assert {one.retry_after for one in outcomes[:40] if isinstance(one, Rejected)} <= {None, 1}
    while placed < 7:
        # What another transaction was releasing just then: those refused meanwhile were to ask again.
        buying.place_for_newcomer(product)
        placed += 1
    assert buying.refusal_of(buying.place, buying.account(), product).code == "insufficient_stock"
    product.refresh_from_db()
    assert (product.reserved, product.available) == (7, 0)
    assert Order.objects.filter(status="expired").count() == 7


def test_an_order_that_is_refused_ends_no_order_that_may_still_be_paid():
    product, other = ProductFactory.create_batch(2, on_hand=1)
    paying = buying.place_for_newcomer(product, token="tok_ok")
    elsewhere = buying.place_for_newcomer(other)
    lapse()
    assert buying.refusal_of(buying.place, buying.account(), product).retry_after is None
    assert buying.status_of(paying) == "paying"
    assert buying.status_of(elsewhere) == "awaiting_payment", "nothing was refused for it"


def test_a_sold_out_product_that_no_order_holds_is_refused_without_looking_for_lapsed_orders():
    sold_out, held = (ProductFactory(on_hand=units) for units in (0, 1))
    buying.place_for_newcomer(held)
    for product, looks in ((sold_out, 0), (held, 1)):
        request = buying.request_of_newcomer(product)
        with captured_statements() as statements:
            buying.refusal_of(checkout.place, request)
        assert len([one for one in statements if "expires_at" in one]) == looks


def test_the_gate_refuses_without_looking_for_lapsed_orders_until_the_sweep_has_ended_them(settings):
    settings.INVENTORY_STRATEGY = "redis_gate"
    _, place = of_stock(settings)
    lapse()
    assert buying.refusal_of(place).code == "insufficient_stock"
    assert cancellation.expire_due() == 1
    place()


def test_nothing_is_decided_twice_for_a_lapsed_order_that_is_locked(settings):
    first, place = of_stock(settings)
    lapse()
    with holding(LOCK, first.order.id.hex), captured_statements() as statements:
        assert buying.refusal_of(place).retry_after == 1
    ends = "FROM inventory_product", "FOR UPDATE"
    assert len([one for one in statements if ends[0] in one and one.endswith(ends[1])]) == 1


def test_after_many_have_lapsed_only_the_first_are_searched_and_the_refusal_passes(monkeypatch):
    monkeypatch.setattr(cancellation, "MOST_SEARCHED", 3)
    product, other = ProductFactory.create_batch(2, on_hand=9)
    elsewhere = [buying.place_for_newcomer(other) for _ in range(3)]
    held = buying.place_for_newcomer(product)
    lapse()
    Order.objects.filter(id__in=[one.order.id for one in elsewhere]).update(expires_at="2020-01-01 00:00Z")
    assert buying.refusal_of(buying.place, buying.account(), {product: 9}).retry_after == 1
    assert buying.status_of(held) == "awaiting_payment"
    assert cancellation.expire_due() == 4
    assert buying.place_for_newcomer(product, 9)
