"""Naive versions of the code under test in `test_races.py`, which lose the same races.

Those of stock or a wallet alone are in the races of `inventory/tests` and `payments/tests`. If losing needs a
certain instant, a barrier holds both sides there: a race that can't lose proves nothing, and one that loses
by luck proves it only sometimes.
"""

import threading
from collections.abc import Callable

import pytest

from inventory import reservations
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.placement import decisions, limits
from orders.placement.limits import Holdings
from orders.tests import buying
from shop.db import transactions
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


def test_reading_the_key_and_then_placing_places_twice():
    product, buyer = ProductFactory.create(on_hand=100), buying.account()
    both_looked = threading.Barrier(2, timeout=10)

    def place() -> None:
        is_new = not Order.objects.filter(account=buyer).exists()
        both_looked.wait()
        if is_new:
            buying.place(buyer.id, {product: 1})

    race([place] * 2)
    assert Order.objects.filter(account=buyer).count() == 2


def test_checking_the_status_without_a_lock_lets_cancel_and_pay_both_win():
    order = buying.place(buying.account().id, {ProductFactory.create(on_hand=1): 1}).order
    both_looked = threading.Barrier(2, timeout=10)

    def move(status: str) -> bool:
        seen = Order.objects.get(id=order.id)
        both_looked.wait()
        if seen.status != Order.Status.AWAITING_PAYMENT:
            return False
        Order.objects.filter(id=order.id).update(status=status)
        return True

    moves = [lambda: move(Order.Status.CANCELLED), lambda: move(Order.Status.PAYING)]
    assert race(moves) == [True, True]


def test_counting_an_accounts_units_before_the_lock_passes_its_limit(monkeypatch):
    """Two orders that each counted the account's units before the other was placed."""
    product, buyer = ProductFactory.create(on_hand=100, limit_per_account=3), buying.account()
    both_counted = threading.Barrier(2, timeout=10)
    counted: dict[int, Holdings] = {}

    def place() -> None:
        order_request = buying.order_request(buyer.id, {product: 2})
        stock = reservations.read([product.id])
        counted[threading.get_ident()] = limits.read_holdings([(buyer.id, order_request.lines)], stock)
        both_counted.wait()
        transactions.run(lambda: decisions.decide([order_request]), transactions.KEYED)

    monkeypatch.setattr(limits, "read_holdings", _earlier(counted, limits.read_holdings))
    assert race([place] * 2) == [None, None]
    assert Order.objects.filter(account=buyer).count() == 2
    assert {report.law for report in buying.broken_laws()} == {"L13"}


def _earlier(counted: dict[int, Holdings], read: Callable[..., Holdings]) -> Callable[..., Holdings]:
    """The holdings that the thread counted earlier, if it did."""
    return lambda *arguments: counted.get(threading.get_ident()) or read(*arguments)
