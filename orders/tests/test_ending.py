"""Cancelling and expiring: what an unpaid order held is free again, once."""

import logging
import time
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from coupons.models import Coupon
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import doctor, ending
from orders.models import Order
from orders.tests import buying
from shop import gauges
from shop.models import JournalLine
from shop.tests.second_connection import holding

pytestmark = pytest.mark.django_db(transaction=True)
ONE_LOCK_WAIT = 5.0
LOCK_PRODUCT = "SELECT id FROM inventory_product WHERE id = %s FOR UPDATE"


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


def test_an_order_whose_products_reserved_is_one_too_low_stops_no_other_from_expiring(
    caplog: pytest.LogCaptureFixture,
) -> None:
    buyer = buying.account()
    wrong, right = ProductFactory.create(on_hand=5), ProductFactory.create(on_hand=9)
    first = buying.place(buyer.id, {right: 1}).order
    bad = buying.place(buyer.id, {wrong: 2}).order
    others = [buying.place(buyer.id, {right: 1}).order for _ in range(3)]
    Product.objects.filter(pk=wrong.pk).update(reserved=1)
    lapse(first, bad, *others)

    assert ending.expire_due() == 4
    assert {buying.state_of(order.id) for order in (first, *others)} == {"expired"}
    assert buying.state_of(bad.id) == "awaiting_payment"
    assert Product.objects.get(pk=right.pk).reserved == 0
    [noted] = JournalLine.objects.filter(order_id=bad.id, what="order.cannot_expire")
    assert "reserved_within_on_hand" in noted.detail and noted.is_internal
    assert [record.levelno for record in caplog.records if str(bad.id) in record.getMessage()] == [
        logging.ERROR
    ]

    assert ending.expire_due() == 0
    assert JournalLine.objects.filter(what="order.cannot_expire").count() == 1, "noted once, tried each time"
    Product.objects.filter(pk=wrong.pk).update(reserved=2)
    assert ending.expire_due() == 1
    assert buying.broken_laws() == []


def test_orders_of_a_product_that_is_locked_for_long_expire_later_and_the_others_now() -> None:
    buyer = buying.account()
    locked, free = ProductFactory.create(on_hand=9), ProductFactory.create(on_hand=9)
    waiting = [buying.place(buyer.id, {locked: 1, free: 1}).order for _ in range(3)]
    others = [buying.place(buyer.id, {free: 1}).order for _ in range(3)]
    lapse(*waiting, *others)
    with holding(LOCK_PRODUCT, locked.pk):
        began_at = time.monotonic()
        assert ending.expire_due() == 3
        assert time.monotonic() - began_at < ONE_LOCK_WAIT + 2
    assert {buying.state_of(order.id) for order in others} == {"expired"}
    assert ending.expire_due() == 3


def test_an_order_that_another_transaction_keeps_locked_stops_no_other_from_expiring() -> None:
    buyer, product = buying.account(), ProductFactory.create(on_hand=9)
    in_use, other = (buying.place(buyer.id, {product: 1}).order for _ in range(2))
    lapse(in_use, other)
    with holding("SELECT id FROM orders_order WHERE id = %s FOR UPDATE", in_use.id.hex):
        assert ending.expire_due() == 1
    assert ending.expire_due() == 1


def test_operators_see_which_orders_keep_their_stock_though_their_time_is_over(
    admin_client: Client,
) -> None:
    buyer, product = buying.account(), ProductFactory.create(on_hand=9)
    overdue, lately, in_time = (buying.place(buyer.id, {product: 1}).order for _ in range(3))
    lapse(overdue, lately)
    Order.objects.filter(id=overdue.id).update(expires_at=timezone.now() - timedelta(minutes=2))

    page = admin_client.get("/admin/orders/order/", {"expiry": "overdue"}).content.decode()
    assert [str(order.id) in page for order in (overdue, lately, in_time)] == [True, False, False]
    assert b"firstcome_orders_overdue 1.0" in gauges.exposition()
    [finding] = doctor.examine()
    assert (finding.level, finding.found[:2]) == ("warning", "1 ")
    ending.expire_due()
    assert [finding.level for finding in doctor.examine()] == ["ok"]
    assert b"firstcome_orders_overdue 0.0" in gauges.exposition()
