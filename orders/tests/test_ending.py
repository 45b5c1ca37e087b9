"""Cancelling and expiring: what an unpaid order held is free again, once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from coupons.models import Coupon
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import ending
from orders.models import Order
from orders.tests import buying

pytestmark = pytest.mark.django_db(transaction=True)


def lapse(*orders: Order) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Order.objects.filter(id__in=[order.id for order in orders]).update(expires_at=past)


def test_orders_past_their_time_expire_and_the_others_stay() -> None:
    buyer, product = buying.account(), ProductFactory.create(on_hand=10, price=5_000)
    code = buying.coupon_of(buyer.id).code
    late = [
        buying.place(buyer.id, {product: 1}, coupon=code).order,
        buying.place(buyer.id, {product: 2}).order,
    ]
    in_time = buying.place(buyer.id, {product: 4}).order
    paying = buying.place(buyer.id, {product: 1}, token="tok_ok").order
    lapse(*late, paying)
    assert ending.expire_due() == 2
    assert ending.expire_due() == 0
    assert {buying.state_of(order.id) for order in late} == {"expired"}
    assert buying.state_of(in_time.id) == "awaiting_payment"
    assert buying.state_of(paying.id) == "paying"
    assert Product.objects.get().reserved == 5
    assert Coupon.objects.get(code=code).status == "issued"
    assert buying.broken_laws() == []


def test_more_than_one_bite_of_orders_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "EXPIRED_AT_ONCE", 2)
    buyer, product = buying.account(), ProductFactory.create(on_hand=5)
    lapse(*(buying.place(buyer.id, {product: 1}).order for _ in range(5)))
    assert ending.expire_due() == 5
    assert Product.objects.get().reserved == 0
