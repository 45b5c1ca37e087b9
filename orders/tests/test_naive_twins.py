"""Naive versions of the code under test in `test_races.py`, which lose the same races.

If losing needs a certain instant, a barrier holds both sides there: a race that can't lose proves
nothing, and one that loses by luck proves it only sometimes.
"""

import threading
from collections.abc import Callable

import pytest
from django.db import OperationalError, transaction

from inventory import reservations
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.placement import decisions, limits
from orders.placement.limits import Holdings
from orders.tests import buying
from shop.db import transactions
from shop.db.transactions import DEADLOCK
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


def test_read_add_write_back_oversells() -> None:
    product = ProductFactory.create(on_hand=100)

    def buy() -> bool:
        with transaction.atomic():
            seen = Product.objects.get(id=product.id)
            if seen.available < 1:
                return False
            Product.objects.filter(id=product.id).update(reserved=seen.reserved + 1)
            return True

    sold = sum(race([buy] * 200))
    product.refresh_from_db()
    assert sold > product.reserved


def test_reading_the_key_and_then_placing_places_twice() -> None:
    product, buyer = ProductFactory.create(on_hand=100), buying.account()
    both_looked = threading.Barrier(2, timeout=10)

    def place() -> None:
        is_new = not Order.objects.filter(account=buyer).exists()
        both_looked.wait()
        if is_new:
            buying.place(buyer.id, {product: 1})

    race([place] * 2)
    assert Order.objects.filter(account=buyer).count() == 2


def test_locking_products_in_the_order_of_the_lines_deadlocks() -> None:
    first, second = ProductFactory.create_batch(2, on_hand=1)
    both_hold_one = threading.Barrier(2, timeout=10)

    def reserve(*products: Product) -> None:
        with transaction.atomic():
            Product.objects.select_for_update().get(id=products[0].id)
            both_hold_one.wait()
            Product.objects.select_for_update().get(id=products[1].id)

    outcomes = race([lambda: reserve(first, second), lambda: reserve(second, first)])
    [error] = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(error, OperationalError)
    assert error.args[0] == DEADLOCK


def test_checking_the_status_without_a_lock_lets_cancel_and_pay_both_win() -> None:
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


def test_counting_an_accounts_units_before_the_lock_passes_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_checking_the_balance_before_spending_spends_it_twice() -> None:
    """Two orders that each read enough points: only the ledger's check keeps the wallet above zero."""
    product, buyer = ProductFactory.create(on_hand=2, price=100), buying.account(points=100)
    wallet = buyer.wallet
    both_looked = threading.Barrier(2, timeout=10)

    def spend() -> bool:
        seen = type(wallet).objects.get(id=wallet.id).balance_amount
        both_looked.wait()
        if seen < product.price:
            return False
        type(wallet).objects.filter(id=wallet.id).update(balance_amount=seen - product.price)
        return True

    assert race([spend] * 2) == [True, True]
    wallet.refresh_from_db()
    assert wallet.balance_amount == 0
    assert "L7" in {report.law for report in buying.broken_laws()}
