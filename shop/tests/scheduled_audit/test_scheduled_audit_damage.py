"""Each kind of damage is named by the scheduled audit: by the frequent one, and by the full one alone."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction

from coupons.models import Campaign, Coupon, PoolCode
from coupons.tests import test_audit as coupon_damage
from coupons.tests.factories import CampaignFactory, coupon_of, order_ids
from events.feed import sequencing
from events.models import FeedEvent
from inventory.imports import importing
from inventory.imports.stock_files import StockRow
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying, test_audit as order_damage
from payments import ledger
from payments.tests import test_ledger as ledger_damage
from payments.tests.factories import PaymentFactory, wallet
from shop.models import JournalLine, LawStatus
from shop.tests.scheduled_audit.auditing import audit_all, audit_changes, forget_changes

pytestmark = pytest.mark.django_db(transaction=True)

Broken = dict[str, list[str]]


def find_by_both_paths() -> tuple[Broken, Broken]:
    """What the frequent audit finds, and what a full audit finds that knows nothing of the first."""
    of_changes = audit_changes()
    LawStatus.objects.all().delete()
    forget_changes()
    return of_changes, audit_all()


@pytest.mark.parametrize(("law", "damage"), order_damage.DAMAGE)
def test_damage_of_orders_is_named(
    law: str, damage: Callable[[Order, Order], Any], audited: None, paid: Order, cancelled: Order
) -> None:
    assert audit_changes() == {}
    damage(paid, cancelled)
    of_changes, of_all = find_by_both_paths()
    assert of_changes.get(law) and of_all.get(law)


@pytest.mark.parametrize("damage", order_damage.REFUND_DAMAGE.values(), ids=order_damage.REFUND_DAMAGE)
def test_damage_of_refunds_is_named(damage: Callable[[Order], Any], audited: None) -> None:
    buyer, product = buying.account(points=90), ProductFactory.create(on_hand=3, price=100)
    order = buying.advance(buying.place(buyer.id, {product: 3}, points=90, token="tok_ok"))
    buying.execute_refund(buying.refund(order.id, {product: 1}))
    started = buying.refund(order.id, {product: 1})
    assert audit_changes() == {}
    damage(order)
    for found in find_by_both_paths():
        assert {str(order.id), str(started.refund.id)} & set(found["L9"])


def _count_one_less(campaign: Campaign, with_pool: Campaign) -> str:
    Campaign.objects.filter(pk=campaign.pk).update(issued=9)
    return str(campaign.pk)


def _leave_a_gap(campaign: Campaign, with_pool: Campaign) -> str:
    Coupon.objects.filter(campaign=campaign, position=10).update(position=11)
    return str(campaign.pk)


def _lose_a_code(campaign: Campaign, with_pool: Campaign) -> str:
    PoolCode.objects.filter(code="CODE-8").delete()
    return str(with_pool.pk)


def _return_an_issued_code(campaign: Campaign, with_pool: Campaign) -> str:
    PoolCode.objects.filter(code="CODE-1").update(status="available", coupon=None)
    return f"pool code {PoolCode.objects.get(code='CODE-1').pk}"


def _change_a_code(campaign: Campaign, with_pool: Campaign) -> str:
    Coupon.objects.filter(code="CODE-1").update(code="ANOTHER")
    return f"coupon {Coupon.objects.get(code='ANOTHER').pk}"


def _void_the_wrong_code(campaign: Campaign, with_pool: Campaign) -> str:
    PoolCode.objects.filter(code="CODE-2").update(status="void")
    return f"pool code {PoolCode.objects.get(code='CODE-2').pk}"


COUPON_DAMAGE = [
    ("L1", _count_one_less),
    ("L2", _leave_a_gap),
    ("L3", _lose_a_code),
    ("L3", _return_an_issued_code),
    ("L3", _change_a_code),
    ("L3", _void_the_wrong_code),
]


@pytest.mark.parametrize(("law", "damage"), COUPON_DAMAGE)
def test_damage_of_coupons_is_named(
    law: str,
    damage: Callable[[Campaign, Campaign], str],
    audited: None,
    campaign: Campaign,
    with_pool: Campaign,
) -> None:
    assert audit_changes() == {}
    offender = damage(campaign, with_pool)
    for found in find_by_both_paths():
        assert offender in map(str, found[law])
        assert not any("CODE" in name or "ANOTHER" in name for name in found[law]), "codes are worth money"


def test_two_coupons_of_an_account_are_named_where_the_constraint_is_lost(
    audited: None, campaign: Campaign
) -> None:
    with coupon_damage.without_constraint(Coupon, "coupons_coupon_one_per_account_and_campaign"):
        first, second = campaign.coupons.all()[:2]
        Coupon.objects.filter(pk=second.pk).update(account=first.account_id)
        assert find_by_both_paths() == ({"L2": [str(campaign.pk)]},) * 2
    assert "L2" not in audit_changes()


def test_a_repeated_position_is_named_where_the_constraint_is_lost(audited: None, campaign: Campaign) -> None:
    with coupon_damage.without_constraint(Coupon, "coupons_coupon_one_per_position_of_campaign"):
        Coupon.objects.filter(campaign=campaign, position=5).update(position=4)
        assert find_by_both_paths() == ({"L2": [str(campaign.pk)]},) * 2


def test_coupons_of_one_order_are_named_where_the_constraint_is_lost(audited: None) -> None:
    drop, [order_id] = CampaignFactory.create(), order_ids(1)
    with coupon_damage.without_constraint(Coupon, "coupons_coupon_one_per_order"):
        for _ in range(2):
            coupon_of(drop, status="held", order_id=order_id)
        for found in find_by_both_paths():
            assert str(order_id) in found["L6"]


@pytest.mark.parametrize(
    "damage",
    [
        ledger_damage.damage_balance,
        ledger_damage.lose_entry,
        ledger_damage.lose_balance_of_latest_entry,
        ledger_damage.forge_entry,
        ledger_damage.empty_transfer,
        ledger_damage.points_released_twice,
    ],
)
def test_damage_of_the_ledger_is_named(damage: Callable[[int], str], audited: None) -> None:
    user_id = wallet()
    with transaction.atomic():
        ledger.grant(user_id=user_id, amount=100, reason="", reference="one")
    assert audit_changes() == {}
    with transaction.atomic():
        offender = damage(user_id)
    for found in find_by_both_paths():
        assert offender in found["L7"]


def test_stock_that_does_not_add_up_is_named(audited: None) -> None:
    product = ProductFactory.create(on_hand=10)
    assert audit_changes() == {}
    Product.objects.filter(pk=product.pk).update(on_hand=11)
    assert find_by_both_paths() == ({"L5": [str(product.pk)]},) * 2


def test_negative_stock_is_named_where_the_constraint_is_lost(audited: None) -> None:
    product = ProductFactory.create(on_hand=1)
    constraint = "inventory_product_reserved_within_on_hand"
    with coupon_damage.without_constraint(Product, constraint, lambda: Product.objects.update(reserved=0)):
        Product.objects.filter(pk=product.pk).update(reserved=-1)
        of_changes, of_all = find_by_both_paths()
        assert of_changes["L4"] == of_all["L4"] == [str(product.pk)]


def test_a_delivery_that_came_in_twice_is_named(audited: None) -> None:
    rows = [StockRow(line=0, sku="TEA", name="Tea", price=1, quantity=100)]
    delivery_id, other_id = uuid4(), uuid4()
    importing.receive(rows, delivery_id=delivery_id, reason="delivery")
    importing.receive(rows, delivery_id=other_id, reason="another")
    assert audit_changes() == {}
    StockMovement.objects.update(delivery=delivery_id)
    # The other delivery as well, which has lost its movement.
    for found in find_by_both_paths():
        assert found.keys() == {"L8"} and sorted(found["L8"]) == sorted(map(str, (delivery_id, other_id)))


def test_a_payment_that_no_saga_settles_is_named(audited: None) -> None:
    payment = PaymentFactory.create(top_up=True)
    assert find_by_both_paths() == ({"L9": [str(payment.pk)]},) * 2


def test_an_event_that_the_feed_lost_is_named(audited: None, paid: Order) -> None:
    sequencing.sequence()
    assert audit_changes() == {}
    line = JournalLine.objects.get(order_id=paid.pk, what="order.paid")
    event = FeedEvent.objects.get(event_id=line.event_id)
    event.delete()
    of_changes, of_all = find_by_both_paths()
    assert of_changes["L15"] == of_all["L15"] == [f"position {event.position}", f"journal line {line.pk}"]
