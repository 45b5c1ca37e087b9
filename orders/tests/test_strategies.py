"""Placement with every strategy: the same answers, the same laws; and what is particular to each.

Races are in `test_races.py`, the gate's mirror in `inventory/tests/test_mirror.py`.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import Max
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client import REGISTRY

from accounts.tests.clients import client_of, new_customer, problem_of
from coupons.tests.factories import accounts
from foundation.concurrency.batching import Batcher
from foundation.concurrency.hot_rows import ConcurrencyLimit
from foundation.db import transactions
from foundation.errors import FirstcomeError, KeyReused, NotFound, Overloaded, Rejected
from foundation.idempotency import claims, recorded_answers
from foundation.idempotency.recorded_answers import Replay
from foundation.models import IdempotencyKey, JournalLine
from foundation.redis import redis_client
from foundation.tests.factories import AccountFactory, OrderFactory, reloaded
from foundation.tests.journal_lines import times_noted
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_connection import holding, holding_row
from foundation.tests.second_process import starts_another_process
from foundation.tests.statements import captured_statements
from foundation.tests.waiting import in_background, waiting_at
from inventory import adjustments, mirror, stock_levels
from inventory.imports import importing
from inventory.imports.stock_files import StockRow
from inventory.mirror import IN_FLIGHT_SECONDS
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory, levels_of
from orders import cancellation, rows as order_rows
from orders.models import Order
from orders.placement import checkout
from orders.placement.decisions import PlacedOrder
from orders.placement.strategies import group_commit, pessimistic, redis_gate
from orders.tests import buying
from orders.tests.selling import sell_at_once, two_sellers
from orders.tests.waiting import somebody_waits_at_the_stock

pytestmark = pytest.mark.django_db(transaction=True)


def refused(product_id: int, quantity: int, **wanted) -> FirstcomeError:
    order_request = buying.request_of_newcomer(Product(id=product_id), quantity, **wanted)
    return buying.refusal_of(partial(checkout.place, order_request))


def test_short_lines_are_named_with_what_is_available_and_nothing_is_reserved(strategy):
    plenty, short, gone = (ProductFactory(on_hand=count) for count in (9, 2, 0))
    body = {"items": [{"product": one.id, "quantity": 3} for one in (plenty, short, gone)]}
    answer = new_customer().post("/orders", body, key="a")
    assert problem_of(answer) == (409, "insufficient_stock")
    assert answer.json()["items"] == [
        {"product": short.id, "requested": 3, "available": 2},
        {"product": gone.id, "requested": 3, "available": 0},
    ]
    assert [levels_of(one) for one in (plenty, short, gone)] == [(9, 0), (2, 0), (0, 0)]
    assert not IdempotencyKey.objects.exists()


def test_missing_and_inactive_products_are_not_found_even_when_others_are_short(strategy):
    short, inactive = ProductFactory(), ProductFactory(on_hand=5, is_active=False)
    order_request = buying.order_request(buying.account(), {short: 1, inactive: 1, Product(id=10**9): 1})
    refusal = buying.refusal_of(checkout.place, order_request, kind=NotFound)
    assert (refusal.code, refusal.extra) == ("product_not_found", {"products": [inactive.id, 10**9]})


def test_a_repeat_gets_the_recorded_answer_when_the_stock_is_sold_out(strategy):
    product, buyer = buying.product_and_buyer(on_hand=1)
    order_request = buying.order_request(buyer, product, key="mine")
    placed = checkout.place(order_request)
    again = checkout.place(order_request)
    assert isinstance(again, Replay)
    assert again.reference == placed.order.id
    other = order_request._replace(keyed=order_request.keyed._replace(fingerprint="as wished otherwise"))
    buying.refusal_of(checkout.place, other, kind=KeyReused)
    assert levels_of(product) == (1, 1)


def test_an_order_refused_for_its_coupon_its_points_or_the_limit_leaves_the_stock_to_others(strategy):
    product = ProductFactory(on_hand=2, limit_per_account=1)
    assert refused(product.id, 1, coupon="NO-SUCH").code == "coupon_not_usable"
    assert refused(product.id, 1, points=5).code == "insufficient_points"
    assert refused(product.id, 2).code == "purchase_limit_reached"
    for _ in range(2):
        buying.place_for_newcomer(product)


def test_an_order_costs_a_bounded_number_of_statements(strategy):
    counts = []
    for number in (1, 10, 50):
        quantities = dict.fromkeys(ProductFactory.create_batch(number, on_hand=1), 1)
        buyer = buying.account()
        with captured_statements() as captured:
            buying.place(buyer, quantities)
        counts.append(len(captured))
    assert 3 < counts[0] == counts[1] == counts[2] <= 12


def test_all_strategies_at_once_sell_exactly_what_there_is(settings):
    """As while the setting is changed in one process after the other."""
    settings.INVENTORY_STRATEGY = "redis_gate"
    products = ProductFactory.create_batch(3, on_hand=60)
    calls = []
    for index in range(120):
        place = list(checkout.STRATEGIES.values())[index % 4]
        line_up = products if index % 2 else products[::-1]
        calls.append(partial(place, buying.order_request(buying.account(), dict.fromkeys(line_up, 1))))
    assert buying.kinds(race(calls)) == {"PlacedOrder": 60, "insufficient_stock": 60}
    assert [levels_of(product) for product in products] == [(60, 60)] * 3


def test_an_order_beyond_the_concurrency_limits_queue_is_overloaded(settings, monkeypatch):
    settings.INVENTORY_STRATEGY = "pessimistic"
    limit = ConcurrencyLimit(name="the stock", max_concurrent=1, wait_seconds=0)
    monkeypatch.setattr(pessimistic, "_concurrency_limit", limit)
    product, api = ProductFactory(on_hand=5), new_customer()
    body = buying.order_of(product)
    with holding_row(product):
        first = in_background(partial(buying.place, buying.account(), product))
        wait_until(somebody_waits_at_the_stock)
        answer = api.post("/orders", body, key="a")
    assert problem_of(answer) == (503, "overloaded")
    assert first.result(timeout=10).order.id == Order.objects.get().id
    assert api.post("/orders", body, key="a").status_code == 201


def test_no_more_than_64_orders_wait_for_row_locks(monkeypatch):
    """InnoDB treats more than 200 waiters as a deadlock."""
    monkeypatch.setattr(pessimistic._concurrency_limit, "_wait_seconds", 0)
    with ExitStack() as permits:
        for _ in range(64):
            permits.enter_context(pessimistic._concurrency_limit.permit())
        with pytest.raises(Overloaded), pessimistic._concurrency_limit.permit():
            pytest.fail("there was a 65th permit")


def place_while_somebody_reprices(product, place: Callable[[], Any]):
    """The outcome of an order that reads the stock before its price changes, and writes after that."""
    reprice = "UPDATE inventory_product SET price = 900, version = version + 1 WHERE id = %s"
    with holding(reprice, product.id) as other:
        outcome = in_background(place)
        wait_until(somebody_waits_at_the_stock)
        other.commit()
    return outcome.result(timeout=10)


def test_an_optimistic_order_gives_up_after_its_retries_without_effect(settings):
    settings.INVENTORY_STRATEGY, settings.OPTIMISTIC_RETRIES = "optimistic", 0
    product, api = ProductFactory(on_hand=5), new_customer()
    body = buying.order_of(product)
    answer = place_while_somebody_reprices(product, lambda: api.post("/orders", body, key="a"))
    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (409, "conflict", "1")
    assert not Order.objects.exists()
    assert api.post("/orders", body, key="a").status_code == 201


def test_an_optimistic_order_with_a_conflict_is_retried_counted_and_uses_the_price_of_then(settings):
    settings.INVENTORY_STRATEGY = "optimistic"
    product = ProductFactory(on_hand=5, price=100)
    before = REGISTRY.get_sample_value("firstcome_stock_conflicts_total")
    place = partial(buying.place, buying.account(), product)
    assert place_while_somebody_reprices(product, place).order.total_amount == 900
    assert REGISTRY.get_sample_value("firstcome_stock_conflicts_total") == before + 1
    assert levels_of(product) == (5, 1)


def test_a_refusal_of_the_gate_takes_no_lock_and_no_transaction(settings):
    settings.INVENTORY_STRATEGY = "redis_gate"
    product = ProductFactory(on_hand=1)
    buying.place_for_newcomer(product)
    with holding_row(product):
        order_request = buying.request_of_newcomer(product)
        with CaptureQueriesContext(connection) as captured, pytest.raises(Rejected) as refusal:
            checkout.place(order_request)
    assert refusal.value.code == "insufficient_stock"
    assert ["shop_idempotencykey" in query["sql"] for query in captured] == [True]


def test_an_order_whose_coupon_is_used_elsewhere_after_the_read_is_refused_and_the_others_are_placed():
    """`group_commit` reads coupons without a lock; if one has changed, the batch is redone with locks."""
    product, buyer = buying.product_and_buyer(on_hand=9)
    coupon, elsewhere = buying.coupon_of(buyer), OrderFactory(account=buyer)
    order_requests = [
        buying.order_request(buyer, product, coupon=coupon.code),
        buying.request_of_newcomer(product),
    ]
    take = "UPDATE coupons_coupon SET status = 'held', order_id = %s WHERE code = %s"
    with holding(take, elsewhere.pk.hex, coupon.code) as other:
        batch = in_background(partial(group_commit.place_batch, order_requests))
        wait_until(lambda: waiting_at("%UPDATE coupons_coupon%") == 1)
        other.commit()
        refusal, placed = batch.result(10)

    assert (refusal.code, refusal.extra["reason"]) == ("coupon_not_usable", "held")
    assert isinstance(placed, PlacedOrder)
    assert levels_of(product) == (9, 1)
    assert times_noted("coupon.held") == 0


def test_a_duplicate_in_flight_in_another_process_has_no_effect_and_delays_no_other_request(
    strategy, own_redis
):
    product, twin = ProductFactory(on_hand=9), buying.account()
    elsewhere = claims.new_claim(twin.id, recorded_answers.key_hash("key"))
    assert claims.acquire([elsewhere]) == [True]

    def order(buyer):
        return client_of(buyer).post("/orders", buying.order_of(product), key="key")

    buyers = [twin, *AccountFactory.create_batch(5)]
    refused, *placed = race_each(order, buyers)

    assert [one.status_code for one in placed] == [201] * 5
    assert problem_of(refused) == (409, "idempotency_key_in_flight")
    assert refused["Retry-After"] == "1"
    assert levels_of(product) == (9, 5)
    left = redis_client.client().keys(f"{claims.KEY_PREFIX}*")
    assert left == [elsewhere.name.encode()], "its own claims are released"
    claims.release_later(elsewhere)
    claims.release_ended()
    assert order(twin).status_code == 201
    assert levels_of(product) == (9, 6)


def test_while_the_batcher_is_stalled_a_key_in_flight_elsewhere_is_refused_within_a_second():
    product, twin = ProductFactory(on_hand=9), buying.account()
    assert claims.acquire([claims.new_claim(twin.id, recorded_answers.key_hash("key"))]) == [True]
    body = buying.order_of(product)
    with holding_row(product):
        other = in_background(lambda: new_customer().post("/orders", body, key="key"))
        wait_until(lambda: group_commit.BATCHER.busy_seconds() > group_commit.STALLED_SECONDS)
        began_at = time.monotonic()
        refusal = client_of(twin).post("/orders", body, key="key")
        took = time.monotonic() - began_at
        assert not other.done()
    assert problem_of(refusal) == (409, "idempotency_key_in_flight")
    assert took < 2.5
    assert other.result(10).status_code == 201


def test_a_full_batcher_releases_the_units_at_the_gate(settings, monkeypatch):
    settings.INVENTORY_STRATEGY = "redis_gate"
    product = ProductFactory(on_hand=1)
    with monkeypatch.context() as narrow:
        narrow.setattr(redis_gate, "_batcher", Batcher(redis_gate._decide, max_waiting=0))
        with pytest.raises(Overloaded):
            buying.place_for_newcomer(product)
    buying.place_for_newcomer(product)


def test_low_stock_is_reported_once_however_many_orders_are_concurrent(strategy):
    product = ProductFactory(on_hand=30, low_stock_threshold=10)
    race([partial(buying.place, buying.account(), product) for _ in range(30)])
    [line] = JournalLine.objects.filter(what="stock.low")
    assert line.after["product"] == product.id
    assert line.before["available"] > 10 >= line.after["available"]


@dataclass(frozen=True)
class Case:
    """A change of a product with 10 on hand: the action, the change of on hand and available, the records."""

    prepare: Callable[[Product], Callable[[], Any]]
    on_hand: int
    available: int
    what: str
    movement: str = ""


def place(product) -> Callable[[], Any]:
    order_request = buying.request_of_newcomer(product, 2)
    return lambda: checkout.place(order_request)


def cancel(product) -> Callable[[], Any]:
    order = buying.place_for_newcomer(product, 2).order
    return lambda: cancellation.cancel(order_id=order.id, account_id=None)


def expire(product) -> Callable[[], Any]:
    order = buying.place_for_newcomer(product, 2).order
    buying.change_order(order, expires_at=timezone.now())
    return cancellation.expire_due


def pay(product, token="tok_ok") -> Callable[[], Any]:
    placed = buying.place_for_newcomer(product, 2, token=token)
    return lambda: buying.advance(placed)


def put_back(product) -> Callable[[], Any]:
    order = buying.advance(buying.place_for_newcomer(product, 2, token="tok_ok"))
    lines = order_rows.read_lines([order.id])[order.id]
    return lambda: transactions.run(
        lambda: stock_levels.restock({order.id: lines}, "wrong colour"), transactions.KEYED
    )


def bring_in(product) -> Callable[[], Any]:
    row = StockRow(sku=product.sku, quantity=2)
    return lambda: importing.receive([row], delivery_id=uuid4(), reason="delivery")


adjust = partial(adjustments.adjust, delta=-2, reason="broken")
receive = partial(adjustments.receive, quantity=2, reason="delivery")
CASES = {
    "an order": Case(place, 0, -2, "order.placed"),
    "a cancelled order": Case(cancel, 0, 2, "stock.released"),
    "an expired order": Case(expire, 0, 2, "stock.released"),
    "a declined payment": Case(partial(pay, token="tok_declined"), 0, 2, "stock.released"),
    "a paid order": Case(pay, -2, 0, "stock.sold", "sold"),
    "a return": Case(put_back, 2, 2, "stock.returned", "returned"),
    "an adjustment": Case(
        lambda one: partial(adjust, product_id=one.id), -2, -2, "stock.adjusted", "adjusted"
    ),
    "a delivery": Case(lambda one: partial(receive, product_id=one.id), 2, 2, "stock.received", "received"),
    "an import": Case(bring_in, 2, 2, "stock.received", "received"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_waits_for_the_products_lock_and_is_recorded(name):
    case, product = CASES[name], ProductFactory(on_hand=10)
    change = case.prepare(product)
    product.refresh_from_db()
    last_movement = StockMovement.objects.latest("id").id
    last_line = JournalLine.objects.aggregate(id=Max("id"))["id"] or 0
    with holding_row(product):
        outcome = in_background(change)
        wait_until(somebody_waits_at_the_stock)
        assert not outcome.done()
    outcome.result(timeout=20)

    after = reloaded(product)
    assert after.on_hand - product.on_hand == case.on_hand
    assert after.available - product.available == case.available
    assert after.version == product.version + 1
    moved = StockMovement.objects.filter(id__gt=last_movement).values_list("kind", "delta", "on_hand_after")
    assert list(moved) == ([(case.movement, case.on_hand, after.on_hand)] if case.movement else [])
    assert case.what in JournalLine.objects.filter(id__gt=last_line).values_list("what", flat=True)


@starts_another_process
def test_two_processes_sell_stock_of_60_to_exactly_60():
    found = {}
    with two_sellers() as sellers:
        for strategy in checkout.STRATEGIES:
            product = ProductFactory(on_hand=60)
            buyers = accounts(100)
            outcomes = sell_at_once(sellers, product, (buyers[:50], buyers[50:]), strategy=strategy)
            found[strategy] = (outcomes, levels_of(product))
    exact = {"PlacedOrder": 60, "insufficient_stock": 40}, (60, 60)
    assert found == dict.fromkeys(checkout.STRATEGIES, exact)


def test_units_that_a_killed_process_took_from_the_gate_are_released(settings):
    settings.INVENTORY_STRATEGY = "redis_gate"
    product, buyer = buying.product_and_buyer(on_hand=1)
    # It was admitted, and had committed nothing.
    assert mirror.admit(redis_gate._gate_reservation(buying.order_request(buyer, product))) == []
    assert redis_client.client().hlen(mirror.IN_FLIGHT) == 1
    with pytest.raises(Rejected):
        buying.place_for_newcomer(product)
    mirror.heal(now=time.time() + IN_FLIGHT_SECONDS + 1)
    buying.place_for_newcomer(product)
    assert Order.objects.count() == 1
