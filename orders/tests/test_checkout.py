"""Placement, of discounted products too: a batch costs few statements, each request gets its own answer."""

from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from coupons import campaigns
from coupons.models import Campaign
from coupons.tests.outcomes import issue
from foundation.errors import Invalid, KeyReused, Rejected
from foundation.idempotency.recorded_answers import Replay
from foundation.tests.factories import reloaded
from foundation.tests.journal_lines import journal_lines
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import schemas
from orders.models import Order, OrderLine
from orders.placement.decisions import OrderRequest, PlacedOrder, PlacementResult
from orders.placement.strategies import group_commit
from orders.tests import buying

pytestmark = pytest.mark.django_db


def decide(*order_requests: OrderRequest) -> list[PlacementResult]:
    """The results of one batch, as the batcher would decide it."""
    return group_commit.place_batch(order_requests)


def statements(
    count: int, *, token: str | None = None, coupon=False, points=0, limit: int | None = None
) -> int:
    """The number of statements for a batch of orders of three lines, without BEGIN and COMMIT."""
    products = ProductFactory.create_batch(30, on_hand=count, price=1_000, limit_per_account=limit)
    order_requests = []
    for index in range(count):
        buyer, lines = buying.account(points=points).id, dict.fromkeys(products[index % 28 :][:3], 1)
        code = buying.coupon_code(buyer) if coupon else ""
        order_requests.append(buying.order_request(buyer, lines, token=token, coupon=code, points=points))
    with CaptureQueriesContext(connection) as captured:
        outcomes = decide(*order_requests)
    assert all(isinstance(outcome, PlacedOrder) for outcome in outcomes)
    return sum("SAVEPOINT" not in query["sql"] for query in captured)


@pytest.mark.parametrize(
    ("wanted", "more"),
    [
        ({}, 0),
        # Whether an account has very many orders, and what each has of the product.
        ({"limit": 5}, 2),
        # Found with their campaigns, held.
        ({"coupon": True}, 2),
        # The balances.
        ({"points": 100}, 1),
        ({"coupon": True, "points": 100}, 2 + 1),
        ({"token": "tok_ok"}, 3),
    ],
    ids=str,
)
@pytest.mark.usefixtures("numbers_at_hand")
def test_orders_cost_nine_statements_and_few_more_whatever_their_number(wanted, more):
    """One of them reads the unpaid orders of the accounts, and one writes the events of the feed."""
    assert [statements(count, **wanted) for count in (1, 10, 100)] == [9 + more] * 3


def test_a_batch_locks_its_products_by_one_statement_and_notes_what_each_order_has_left_to_the_next():
    product = ProductFactory(on_hand=4)
    requests = [buying.request_of_newcomer(product, quantity) for quantity in (1, 2, 2)]
    with CaptureQueriesContext(connection) as captured:
        first, second, third = decide(*requests)
    locking = [query["sql"] for query in captured if query["sql"].rstrip().endswith("FOR UPDATE")]
    assert ["inventory_product" in statement for statement in locking].count(True) == 1
    lines = journal_lines("order.placed")
    reserved = [one for line in lines for one in line.after["reserved"]]
    assert [(one["before"], one["after"]) for one in reserved] == [(0, 1), (1, 3)]
    assert isinstance(first, PlacedOrder) and isinstance(second, PlacedOrder)
    assert isinstance(third, Rejected)
    assert third.extra["items"] == [{"product": product.id, "requested": 2, "available": 1}]


def test_one_key_twice_in_a_batch_is_one_order_and_with_another_body_refused():
    product = ProductFactory(on_hand=9)
    order_request = buying.request_of_newcomer(product, key="same")
    other = order_request._replace(keyed=order_request.keyed._replace(fingerprint="another body"))
    first, second, third = decide(order_request, order_request, other)
    assert isinstance(first, PlacedOrder)
    assert isinstance(second, Replay)
    assert second.reference == first.order.id
    assert second.answer == schemas.placed_order_answer(first)
    assert isinstance(third, KeyReused)
    assert Order.objects.count() == 1


def test_a_refused_order_leaves_the_coupon_to_the_next():
    product, buyer = buying.product_and_buyer(on_hand=1, price=5_000)
    code = buying.coupon_code(buyer)
    too_many = buying.order_request(buyer, {product: 2}, coupon=code)
    first, second = decide(too_many, buying.order_request(buyer, product, coupon=code))
    assert isinstance(first, Rejected)
    assert isinstance(second, PlacedOrder)
    assert second.order.discount_amount == 1_000


def campaign_for(*products: Product, **terms) -> Campaign:
    """A campaign whose discount counts over these products."""
    given: Any = {"name": "Shoes", "quantity": 9, "discount_type": "amount", "discount_value": 1_000} | terms
    return campaigns.create(products=[product.pk for product in products], **given)


def code_for(products: list[Product], account_id: int, **terms) -> str:
    """The code of the account's coupon of such a campaign."""
    campaign = campaign_for(*products, **terms)
    return issue(campaign, account_id).coupon.code


def test_the_discount_counts_over_the_products_lines_and_is_split_over_them():
    buyer = buying.account().id
    shoe, boot, sock = ProductFactory.create_batch(3, on_hand=9, price=333)
    code = code_for([shoe, boot], buyer, discount_value=101)

    placed = buying.place(buyer, {shoe: 1, sock: 1, boot: 1}, coupon=code)

    assert (placed.order.items_amount, placed.order.discount_amount) == (999, 101)
    shares = OrderLine.objects.filter(order=placed.order.id).values_list("product_id", "discount_amount")
    assert dict(shares) == {shoe.pk: 50, boot.pk: 51, sock.pk: 0}


def test_the_minimum_counts_over_these_lines_and_an_order_needs_one_of_them():
    buyer = buying.account().id
    shoe, sock = ProductFactory(on_hand=9, price=2_000), ProductFactory(on_hand=9, price=9_000)
    code = code_for([shoe], buyer, min_order_amount=4_000)

    assert buying.coupon_refusal(buyer, sock, code) == "no_eligible_item"
    assert buying.coupon_refusal(buyer, {shoe: 1, sock: 1}, code) == "below_minimum"
    assert buying.order(buyer, {shoe: 2, sock: 1}, coupon=code).discount_amount == 1_000


def test_a_refund_gives_back_each_lines_price_less_its_own_share():
    buyer = buying.account().id
    shoe, sock = ProductFactory(on_hand=9, price=2_000), ProductFactory(on_hand=9, price=500)
    code = code_for([shoe], buyer)
    order = buying.buy(buyer, {shoe: 2, sock: 2}, coupon=code)
    assert order.total_amount == 4_000

    refunds = [buying.refunded(order, part) for part in ({sock: 1}, {shoe: 1}, None)]
    assert [one.amount for one in refunds] == [500, 1_500, 2_000]


def test_a_shared_code_with_products_issues_nothing_for_an_order_without_them():
    buyer = buying.account().id
    shoe, sock = ProductFactory.create_batch(2, on_hand=9, price=2_000)
    campaign = campaign_for(shoe, code_source="shared", shared_code="SHOES")
    assert buying.coupon_refusal(buyer, sock, "SHOES") == "no_eligible_item"
    assert reloaded(campaign).issued == 0
    assert buying.order(buyer, shoe, coupon="SHOES").discount_amount == 1_000


def test_products_can_change_until_a_coupon_is_issued_and_must_exist():
    shoe, sock = ProductFactory.create_batch(2)
    campaign = campaign_for(sock, shoe, sock)
    assert campaign.product_ids == sorted([shoe.pk, sock.pk])

    change = partial(campaigns.change, campaign_id=campaign.pk)
    for products in ([shoe.pk], [], [sock.pk, shoe.pk], [sock.pk]):
        changed = change(products=products)
        assert changed.product_ids == sorted(products)
        assert changed.is_limited_to_products is bool(products)
    unknown = buying.refusal_of(change, products=[sock.pk, 10**9], kind=Invalid)
    assert unknown.extra["errors"][0]["field"] == "products"
    issue(campaign, buying.account().id)
    change(products=[sock.pk])
    assert buying.refusal_of(change, products=[], kind=Rejected).code == "campaign_has_coupons"
