"""Discounts that count over some products' lines alone: amounts, shares of lines, and refunds."""

from typing import Any

import pytest

from coupons import campaigns
from coupons.issuing import issuing
from coupons.models import Campaign
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import OrderLine
from orders.tests import buying
from shop.errors import Invalid, Rejected
from shop.tests.case_tables import in_one_test

pytestmark = pytest.mark.django_db


def code_for(products: list[Product], account_id: int, **terms: Any) -> str:
    """The code of the account's coupon of a campaign whose discount counts over these products."""
    given: Any = {"name": "Shoes", "quantity": 9, "discount_type": "amount", "discount_value": 1_000} | terms
    campaign = campaigns.create(products=[product.pk for product in products], **given)
    return issuing.issue(campaign_id=campaign.pk, user_id=account_id).coupon.code


def reason(account_id: int, quantities: dict[Product, int], code: str) -> str:
    with pytest.raises(Rejected) as refused:
        buying.place(account_id, quantities, coupon=code)
    return str(refused.value.extra["reason"])


def shares(order_id: Any) -> dict[int, int]:
    """Each line's share of the discount, by product."""
    return dict(OrderLine.objects.filter(order_id=order_id).values_list("product_id", "discount_amount"))


@in_one_test(
    ("prices", "terms", "due"),
    [
        ((1_000, 2_000, 10_000), {"discount_type": "percent", "discount_value": 10}, [100, 200, 0]),
        # The rest is on the last of these lines.
        ((333, 333, 1_000), {"discount_value": 101}, [50, 51, 0]),
        # An amount is never more than they cost.
        ((100, 200, 9_000), {}, [100, 200, 0]),
    ],
)
def test_the_discount_counts_over_the_products_lines_and_is_split_over_them(
    prices: tuple[int, ...], terms: dict[str, Any], due: list[int]
) -> None:
    buyer = buying.account().id
    shoe, boot, sock = (ProductFactory.create(on_hand=9, price=price) for price in prices)

    placed = buying.place(buyer, {shoe: 1, sock: 1, boot: 1}, coupon=code_for([shoe, boot], buyer, **terms))

    assert (placed.order.items_amount, placed.order.discount_amount) == (sum(prices), sum(due))
    assert shares(placed.order.id) == dict(zip((shoe.pk, boot.pk, sock.pk), due, strict=True))
    assert buying.broken_laws() == []


def test_the_minimum_counts_over_these_lines_and_an_order_needs_one_of_them() -> None:
    buyer = buying.account().id
    shoe, sock = ProductFactory.create(on_hand=9, price=2_000), ProductFactory.create(on_hand=9, price=9_000)
    code = code_for([shoe], buyer, min_order_amount=4_000)

    assert reason(buyer, {sock: 1}, code) == "no_eligible_item"
    assert reason(buyer, {shoe: 1, sock: 1}, code) == "below_minimum"
    assert buying.place(buyer, {shoe: 2, sock: 1}, coupon=code).order.discount_amount == 1_000


def test_a_refund_gives_back_each_lines_price_less_its_own_share() -> None:
    buyer = buying.account().id
    shoe, sock = ProductFactory.create(on_hand=9, price=2_000), ProductFactory.create(on_hand=9, price=500)
    order = buying.advance(
        buying.place(buyer, {shoe: 2, sock: 2}, coupon=code_for([shoe], buyer), token="tok_ok")
    )
    assert order.total_amount == 4_000

    of_sock = buying.execute_refund(buying.refund(order.id, {sock: 1}))
    of_shoe = buying.execute_refund(buying.refund(order.id, {shoe: 1}))
    of_rest = buying.execute_refund(buying.refund(order.id))

    assert [one.amount for one in (of_sock, of_shoe, of_rest)] == [500, 1_500, 2_000]
    assert buying.broken_laws() == []


def test_a_shared_code_with_products_issues_nothing_for_an_order_without_them() -> None:
    buyer = buying.account().id
    shoe, sock = ProductFactory.create_batch(2, on_hand=9, price=2_000)
    terms: Any = {"name": "Shoes", "quantity": 9, "discount_type": "amount", "discount_value": 100}
    campaign = campaigns.create(products=[shoe.pk], code_source="shared", shared_code="SHOES", **terms)

    assert reason(buyer, {sock: 1}, "SHOES") == "no_eligible_item"
    assert Campaign.objects.get(pk=campaign.pk).issued == 0
    assert buying.place(buyer, {shoe: 1}, coupon="SHOES").order.discount_amount == 100


def test_products_can_change_until_a_coupon_is_issued_and_must_exist() -> None:
    shoe, sock = ProductFactory.create_batch(2)
    terms: Any = {"name": "Shoes", "quantity": 9, "discount_type": "amount", "discount_value": 100}
    campaign = campaigns.create(products=[sock.pk, shoe.pk, sock.pk], **terms)
    assert campaign.product_ids == sorted([shoe.pk, sock.pk])

    for products in ([shoe.pk], [], [sock.pk, shoe.pk], [sock.pk]):
        changed = campaigns.change(campaign_id=campaign.pk, products=products)
        assert changed.product_ids == sorted(products)
        assert changed.is_limited_to_products is bool(products)
    with pytest.raises(Invalid) as unknown:
        campaigns.change(campaign_id=campaign.pk, products=[sock.pk, 10**9])
    assert unknown.value.extra["errors"][0]["field"] == "products"
    issuing.issue(campaign_id=campaign.pk, user_id=buying.account().id)
    campaigns.change(campaign_id=campaign.pk, products=[sock.pk])
    with pytest.raises(Rejected) as fixed:
        campaigns.change(campaign_id=campaign.pk, products=[])
    assert fixed.value.code == "campaign_has_coupons"
