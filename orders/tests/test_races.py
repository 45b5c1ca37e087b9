"""Orders in races: real threads on the real database, and after each the audit.

Naive versions lose the same races; those of stock or a wallet alone are in the races of `inventory/tests` and
`payments/tests`. If losing needs a certain instant, a barrier holds both sides there: a race that can't lose
proves nothing, and one that loses by luck proves it only sometimes.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from foundation.db import transactions
from foundation.errors import FirstcomeError
from foundation.idempotency.recorded_answers import Replay
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race, race_each
from foundation.tests.waiting import in_background
from inventory import rows as stock_rows
from inventory.tests.factories import ProductFactory, levels_of
from orders import cancellation
from orders.models import Order, Saga
from orders.payment import purchase
from orders.placement import checkout, decisions, rows as placement_rows
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, stepping
from orders.tests.buying import kinds
from payments import ledger
from payments.gateways import gateway

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("strategy")]
by_one_strategy = pytest.mark.parametrize("strategy", ["group_commit"], indirect=True)


def buyers_of(product, count: int) -> list[Callable[[], Any]]:
    order_requests = [buying.request_of_newcomer(product) for _ in range(count)]
    return [partial(checkout.place, order_request) for order_request in order_requests]


def test_stock_of_100_is_sold_to_exactly_100():
    product = ProductFactory(on_hand=100)
    outcomes = race(buyers_of(product, 200))
    assert kinds(outcomes) == {"PlacedOrder": 100, "insufficient_stock": 100}
    assert levels_of(product) == (100, 100)


def test_100_calls_with_one_key_are_one_order_and_one_charge():
    product = ProductFactory(on_hand=100, price=700)
    buyer = buying.account()
    order_request = buying.order_request(buyer, product, token="tok_ok", key="only-once")

    def place_and_pay():
        outcome = checkout.place(order_request)
        if isinstance(outcome, PlacedOrder) and outcome.started:
            stepping.advance(outcome.started.saga.id)
        return outcome

    outcomes = race([place_and_pay] * 100)
    assert kinds(outcomes) == {"PlacedOrder": 1, "Replay": 99}
    order = Order.objects.get()
    assert {one.reference for one in outcomes if isinstance(one, Replay)} == {order.id}
    assert order.status == Order.Status.PAID
    charges = list(gateway().charges(order_id=order.id))
    assert [charge.kept_amount for charge in charges] == [700]


def test_an_order_whose_commit_got_no_reply_is_the_caller_s_own_and_its_repeat_a_replay(tmp_path):
    order_request = buying.request_of_newcomer(ProductFactory(on_hand=9))
    with losing_reply_to_commit(tmp_path) as is_lost:
        placed = checkout.place(order_request)
        assert is_lost.is_set()
    assert isinstance(placed, PlacedOrder)
    assert [order.id for order in Order.objects.all()] == [placed.order.id]
    assert checkout.place(order_request) == Replay(placed.answer, placed.order.id)


@pytest.mark.parametrize("strategy", ["optimistic"], indirect=True)
def test_a_repeat_is_not_refused_for_the_points_that_its_own_order_has_used(strategy):
    """A faster duplicate is placed and paid between two reads of the transaction, which locks nothing."""
    product, buyer = buying.product_and_buyer(on_hand=9, price=100, points=100)
    order_request = buying.order_request(buyer, product, points=100, token="")
    placed = []

    def place_and_pay():
        faster = checkout.place(order_request)
        assert isinstance(faster, PlacedOrder)
        assert buying.advance(faster).status == Order.Status.PAID
        return faster

    def be_overtaken(execute, sql, parameters, many, context):
        result = execute(sql, parameters, many, context)
        if "FROM shop_idempotencykey" in sql and not placed:
            placed.append(in_background(place_and_pay).result(20))
        return result

    with connection.execute_wrapper(be_overtaken):
        again = checkout.place(order_request)
    assert isinstance(again, Replay)
    assert again.reference == placed[0].order.id
    assert ledger.balance_amount(buyer.id) == 0


def test_300_orders_in_opposite_order_meet_no_deadlock():
    products = ProductFactory.create_batch(5, on_hand=300)
    order_requests = []
    for index in range(300):
        line_up = products if index % 2 else products[::-1]
        order_requests.append(buying.order_request(buying.account(), dict.fromkeys(line_up, 1)))
    outcomes = race_each(checkout.place, order_requests)
    assert kinds(outcomes) == {"PlacedOrder": 300}


def test_one_wallet_spent_by_50_orders_at_once_never_goes_negative(settings):
    settings.OPEN_ORDERS_PER_ACCOUNT = 50
    product = ProductFactory(on_hand=50, price=100)
    buyer = buying.account(points=1_000)
    placed = [buying.place(buyer, product, points=100, token="") for _ in range(50)]
    race_each(buying.advance, placed)
    buying.settle_everything()
    ended = Counter(Order.objects.values_list("status", flat=True))
    assert ended == {Order.Status.PAID: 10, Order.Status.PAYMENT_FAILED: 40}
    assert ledger.balance_amount(buyer.id) == 0


def test_one_coupon_in_20_orders_at_once_is_held_by_one():
    product, buyer = buying.product_and_buyer(on_hand=100, price=5_000)
    code = buying.coupon_code(buyer)
    order_requests = [buying.order_request(buyer, product, coupon=code) for _ in range(20)]
    outcomes = race_each(checkout.place, order_requests)
    assert kinds(outcomes) == {"PlacedOrder": 1, "coupon_not_usable": 19}


def test_cancel_against_pay_against_expiry_one_wins_200_times(strategy):
    """All three at the same instant; some orders are past their time, others are not.

    A quarter of the 200 per strategy: strategies don't affect how an order ends.
    """
    first = 50 * list(checkout.STRATEGIES).index(strategy)
    for number in range(first, first + 50):
        _cancel_pay_expire(random.Random(number))
    assert not Saga.objects.filter(ended_at__isnull=True).exists()


def _cancel_pay_expire(chance):
    product, buyer = buying.product_and_buyer(on_hand=1, price=150, points=50)
    order = buying.order(buyer, product, points=50)
    lapse = timedelta(seconds=chance.choice([-60, 0, 60]))
    buying.change_order(order, expires_at=timezone.now() + lapse)

    def pay():
        keyed = buying.keyed(buyer, key="pay")
        return purchase.pay(account_id=buyer.id, order_id=order.id, token="tok_ok", keyed=keyed)

    contestants: dict[str, Callable[[], Any]] = {
        Order.Status.CANCELLED: lambda: cancellation.cancel(order_id=order.id, account_id=buyer.id),
        Order.Status.PAID: pay,
        Order.Status.EXPIRED: cancellation.expire_due,
    }
    line_up = chance.sample(list(contestants), k=3)
    outcomes = dict(zip(line_up, race([contestants[name] for name in line_up]), strict=True))
    errors = [one for one in outcomes.values() if isinstance(one, Exception)]
    assert all(isinstance(error, FirstcomeError) for error in errors)
    buying.settle_everything()
    won = {name for name, outcome in outcomes.items() if outcome and outcome not in errors}
    ended = buying.state_of(order)
    assert won == ({ended} if ended != Order.Status.AWAITING_PAYMENT else set())


@by_one_strategy
def test_reading_the_key_and_then_placing_places_twice():
    product, buyer = buying.product_and_buyer(on_hand=100)
    both_looked = threading.Barrier(2, timeout=10)

    def place():
        is_new = not Order.objects.filter(account=buyer).exists()
        both_looked.wait()
        if is_new:
            buying.place(buyer, product)

    race([place] * 2)
    assert Order.objects.filter(account=buyer).count() == 2


@by_one_strategy
def test_checking_the_status_without_a_lock_lets_cancel_and_pay_both_win(unlawful):
    order = buying.place_for_newcomer(ProductFactory(on_hand=1)).order
    both_looked = threading.Barrier(2, timeout=10)

    def move(status):
        seen = Order.objects.get(id=order.id)
        both_looked.wait()
        if seen.status != Order.Status.AWAITING_PAYMENT:
            return False
        buying.change_order(order, status=status)
        return True

    moves = [lambda: move(Order.Status.CANCELLED), lambda: move(Order.Status.PAYING)]
    assert race(moves) == [True, True]


@by_one_strategy
def test_counting_an_accounts_units_before_the_lock_passes_its_limit(monkeypatch, unlawful):
    """Two orders that each counted the account's units before the other was placed."""
    product, buyer = buying.product_and_buyer(on_hand=100, limit_per_account=3)
    both_counted = threading.Barrier(2, timeout=10)
    counted = {}

    def place():
        order_request = buying.order_request(buyer, {product: 2})
        stock = stock_rows.read_stock([product.id])
        counted[threading.get_ident()] = read([(buyer.id, order_request.lines)], stock)
        both_counted.wait()
        transactions.run(lambda: decisions.decide([order_request]), transactions.KEYED)

    read = placement_rows.read_holdings
    monkeypatch.setattr(
        placement_rows, "read_holdings", lambda *of: counted.get(threading.get_ident()) or read(*of)
    )
    assert race([place] * 2) == [None, None]
    assert Order.objects.filter(account=buyer).count() == 2
    assert {report.law for report in buying.broken_laws()} == {"L13"}
