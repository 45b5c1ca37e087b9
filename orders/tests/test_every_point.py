"""At every failpoint all laws hold, even before recovery, and the model agrees.

Of the cards those that pass the most points: `orders/tests/test_crashes.py` audits what each crash leaves.
"""

import pytest

from orders.tests import acting, comparing, things
from orders.tests.listening import Listener

CARDS = ("tok_timeout_charged", "tok_refund_fails")
DECISIONS = {"approved": "approve", "refused": "refuse", "not decided": ""}

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listener(monkeypatch, settings):
    """A listener that audits at every point."""
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3
    made = Listener()
    made.stand_by(monkeypatch)
    made.watch = lambda: comparing.assert_sound(made.shop)
    return made


def _placed(listener, token, *, is_kept=False):
    """An order that uses everything, whose payment has advanced as far as possible."""
    shop = listener.shop
    acting.open_shop(shop)
    [buyer, _] = shop.wallets
    acting.issue_coupon(shop, buyer, percent=33)
    counts = {shop.products[0]: 2, shop.products[1]: 1}
    order = things.Order(buyer, counts, shop.coupons[0], 250, token, is_kept=is_kept)
    acting.place(shop, order)
    acting.drive(listener, order)
    return order


@pytest.mark.parametrize("token", CARDS)
def test_an_audit_at_any_point_of_a_purchase_and_its_refunds_finds_nothing(token, listener):
    shop = listener.shop
    order = _placed(listener, token)
    if order.is_open:
        acting.give_up(order)
    acting.sweep(shop, is_later=True)
    _refund_all(shop, order)


@pytest.mark.parametrize("decision", DECISIONS)
def test_an_audit_at_any_point_of_a_payment_that_its_owner_decides_finds_nothing(decision, listener):
    """A refused one leaves its order to be paid with another card."""
    shop = listener.shop
    order = _placed(listener, "tok_3ds", is_kept=True)
    assert order.is_open
    if DECISIONS[decision]:
        acting.decide(order, DECISIONS[decision])
    else:
        acting.let_action_end(order)
    acting.sweep(shop, is_later=True)
    if order.status == "awaiting_payment":
        acting.pay(shop, order, "tok_declined", is_kept=True)
        acting.drive(listener, order)
        assert (order.status, order.payments) == ("awaiting_payment", 2)
        acting.pay(shop, order, "tok_ok")
        acting.drive(listener, order)
    assert order.status == ("payment_failed" if decision == "not decided" else "paid")
    _refund_all(shop, order)


def _refund_all(shop, order):
    """Refund a piece, then the rest."""
    for wanted in ({shop.products[0]: 1}, None):
        acting.refund(shop, order, wanted, restock=True)
        acting.sweep(shop, is_later=True)
    for _ in range(2):
        acting.sweep(shop, is_later=True)
    comparing.assert_over(shop)
