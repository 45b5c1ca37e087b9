"""Rows that another transaction keeps locked: orders that need them are refused, and the checkout goes on."""

import time
from typing import Any

import pytest

from coupons.issuing import issuing
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying
from shop.db import stuck_rows, transactions
from shop.tests.factories import AccountFactory
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import holding

pytestmark = pytest.mark.django_db(transaction=True)

ONE_LOCK_WAIT = 5.0
LOCK_PRODUCT = "SELECT id FROM inventory_product WHERE id = %s FOR UPDATE"
LOCK_COUPON = "SELECT id FROM coupons_coupon WHERE id = %s FOR UPDATE"
LOCK_ACCOUNT = "SELECT id FROM auth_user WHERE id = %s FOR UPDATE"


def placed_at_once(*wanted: tuple[int, Product, str]) -> tuple[list[Any], float]:
    """The outcomes of these orders, and how long they took."""
    began_at = time.monotonic()
    outcomes = race(
        [
            lambda buyer=buyer, product=product, code=code: buying.place(buyer, {product: 1}, coupon=code)
            for buyer, product, code in wanted
        ]
    )
    return outcomes, time.monotonic() - began_at


def is_refused(outcome: Any) -> bool:
    return isinstance(outcome, transactions.LockWaitTimeout)


def test_a_locked_product_delays_orders_of_others_by_one_lock_wait_at_most() -> None:
    locked, free = ProductFactory.create(on_hand=99), ProductFactory.create(on_hand=99)
    buyers = [buying.account().id for _ in range(24)]
    with holding(LOCK_PRODUCT, locked.pk):
        outcomes, seconds = placed_at_once(
            *((buyer, [locked, free][place % 2], "") for place, buyer in enumerate(buyers))
        )
        assert seconds < 2 * ONE_LOCK_WAIT, "not a lock wait for each of them"
        assert [is_refused(outcome) for outcome in outcomes] == [True, False] * 12
        outcomes, seconds = placed_at_once((buyers[0], locked, ""), (buyers[1], free, ""))
        assert [is_refused(outcome) for outcome in outcomes] == [True, False]
        assert seconds < 2, "a repeated order of the locked product does not stop the batcher again"
    assert Product.objects.get(pk=free.pk).reserved == 13
    wait_until(lambda: not stuck_rows.any_known())
    assert buying.place(buyers[0], {locked: 1})
    assert buying.broken_laws() == []


@pytest.mark.parametrize("statement", [LOCK_COUPON, LOCK_ACCOUNT])
def test_a_locked_coupon_or_account_fails_its_own_order_only(statement: str) -> None:
    product = ProductFactory.create(on_hand=99)
    owner, others = buying.account(), [buying.account().id for _ in range(6)]
    coupon = Coupon.objects.get(code=buying.coupon_of(owner.id).code)
    with holding(statement, coupon.pk if statement == LOCK_COUPON else owner.id):
        outcomes, seconds = placed_at_once(
            (owner.id, product, coupon.code), *((buyer, product, "") for buyer in others)
        )
    assert [is_refused(outcome) for outcome in outcomes] == [True, *[False] * 6]
    assert seconds < 2 * ONE_LOCK_WAIT + 2
    assert Order.objects.count() == 6
    assert buying.broken_laws() == []


def test_a_locked_account_keeps_no_other_from_its_coupon() -> None:
    campaign = CampaignFactory.create(quantity=99)
    locked, *others = [AccountFactory.create().id for _ in range(7)]

    def issue(user_id: int) -> Any:
        return issuing.issue(campaign_id=campaign.pk, user_id=user_id)

    with holding(LOCK_ACCOUNT, locked):
        outcomes = race([lambda user_id=user_id: issue(user_id) for user_id in (locked, *others)])
    assert is_refused(outcomes[0])
    assert sorted(outcome.coupon.position for outcome in outcomes[1:]) == [1, 2, 3, 4, 5, 6]
