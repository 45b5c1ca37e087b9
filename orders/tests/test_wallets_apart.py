"""Payments of one account wait for each other at its wallet, and for no other account's."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

import pytest

from accounts.tests.clients import client_of
from foundation.tests import servers
from foundation.tests.racing import race_each, wait_until
from foundation.tests.second_connection import another_connection, holding
from foundation.tests.waiting import in_background
from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, stepping
from payments import ledger
from payments.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)

WALLET = "SELECT id FROM payments_ledgeraccount WHERE id = %s FOR UPDATE"
SHOP_ACCOUNTS = "SELECT id FROM payments_ledgeraccount WHERE id < 0"


def to_be_paid(buyer, *, points: int, token="") -> PlacedOrder:
    """An order of 300 whose payment was started."""
    product = ProductFactory(on_hand=1, price=300)
    return buying.place(buyer, product, points=points, token=token)


def somebody_waits_for_a_lock() -> bool:
    with another_connection() as other:
        return servers.waiting_for_locks(other, tables="payments_") > 0


@contextmanager
def waiting(placed: PlacedOrder, lock: str, *parameters: int) -> Iterator["Future[Order]"]:
    """Let the payment wait in a thread for a row that a second connection locks until the block ends.

    The database ends a lock wait after 5 s, and it is retried once: enough time for the other payments.
    """

    with holding(lock, *parameters):
        paying = in_background(partial(buying.advance, placed))
        wait_until(somebody_waits_for_a_lock)
        yield paying
    paying.result(timeout=10)


def test_8_payments_at_once_from_a_wallet_for_3_pay_3_one_after_the_other():
    buyer = buying.account(points=1_000)
    product = ProductFactory(on_hand=8, price=300)
    orders = [buying.order(buyer, product, points=300) for _ in range(8)]

    def pay(order):
        answer = client_of(buyer).post("/payments", {"order": str(order.id)}, key=f"pay {order.id}")
        for row in Saga.objects.filter(about_id=order.id):
            stepping.advance(row.id)
        return answer.status_code

    answers = Counter(race_each(pay, orders))

    assert set(answers) <= {202, 409}
    assert answers[202] >= 3
    ended = Counter(Order.objects.values_list("status", flat=True))
    assert ended["paid"] == 3
    assert ended["awaiting_payment"] == answers[409]
    assert ended["payment_failed"] == answers[202] - 3
    spent = Entry.objects.filter(account_id=buyer.id, amount__lt=0).order_by("id")
    entries = [*spent.values_list("amount", "balance_after_amount")]
    assert entries == [(-300, 700), (-300, 400), (-300, 100)]


def test_a_payment_that_waits_for_a_wallet_delays_no_other_accounts_payment():
    first, second = buying.account(points=300), buying.account(points=300)
    kept, free = to_be_paid(first.id, points=300), to_be_paid(second.id, points=300)
    with waiting(kept, WALLET, first.id) as paying:
        assert buying.advance(free).status == "paid"
        assert not paying.done()
        assert buying.status_of(kept) == "paying"
    assert buying.status_of(kept) == "paid"


def test_a_payment_by_card_alone_does_not_wait_for_the_wallet():
    buyer = buying.account(points=300)
    kept, by_card = to_be_paid(buyer, points=300), to_be_paid(buyer, points=0, token="tok_ok")
    with waiting(kept, WALLET, buyer.id) as paying:
        assert buying.advance(by_card).status == "paid"
        assert not paying.done()
    assert buying.status_of(kept) == "paid"


def test_no_payment_locks_the_shops_own_accounts():
    """They take part in every transfer: locking one would serialise all payments."""
    buyer = buying.account(points=300)
    placed = to_be_paid(buyer, points=200, token="tok_ok")
    with holding(f"{SHOP_ACCOUNTS} LOCK IN SHARE MODE"):
        assert buying.advance(placed).status == "paid"
        started = buying.refund(placed.order)
        assert buying.execute_refund(started).status == "succeeded"
    assert ledger.balance_amount(buyer.id) == 300


def test_a_payment_waits_if_they_are_locked():
    placed = to_be_paid(buying.account(points=300).id, points=300)
    with waiting(placed, f"{SHOP_ACCOUNTS} FOR UPDATE") as paying:
        assert not paying.done()
    assert buying.status_of(placed) == "paid"
