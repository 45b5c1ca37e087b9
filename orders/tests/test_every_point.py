"""At every failpoint all laws hold, even before recovery."""

from typing import Any

import pytest

from orders.tests import acting, comparing, things
from orders.tests.listening import Listener

CARDS = ("tok_ok", "tok_declined", "tok_error", "tok_timeout_charged", "tok_refund_fails")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Listener:
    """A listener that audits at every point."""
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3
    made = Listener()
    made.stand_by(monkeypatch)
    made.watch = lambda: comparing.assert_sound(made.shop)
    return made


@pytest.mark.parametrize("token", CARDS)
def test_an_audit_at_any_point_of_a_purchase_and_its_refunds_finds_nothing(
    token: str, listener: Listener
) -> None:
    shop = listener.shop
    acting.open_shop(shop)
    [buyer, _] = shop.wallets
    acting.issue_coupon(shop, buyer, percent=33)
    order = things.Order(
        account_id=buyer,
        counts={shop.products[0]: 2, shop.products[1]: 1},
        coupon=shop.coupons[0],
        points_amount=250,
        token=token,
    )
    acting.place(shop, order)
    acting.drive(listener, order)
    if order.is_open:
        acting.give_up(order)
    acting.sweep(shop, is_later=True)
    for wanted in ({shop.products[0]: 1}, None):
        acting.refund(shop, order, wanted, restock=True)
        acting.sweep(shop, is_later=True)
    for _ in range(2):
        acting.sweep(shop, is_later=True)
    comparing.assert_over(shop)
