"""The counters and gauges of business: each says what the rows say, whatever happens on the way."""

from contextlib import suppress
from functools import partial

import pytest
from django.core.management import call_command
from django.db import transaction

from accounts.tests.clients import new_customer
from coupons.tests.factories import CampaignFactory, coupon_of
from foundation.tests import samples
from foundation.tests.constraints import without_constraint
from foundation.tests.factories import set_columns
from foundation.tests.instants import ago
from foundation.tests.samples import Increases
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.metrics import state
from orders.models import Order, Saga
from orders.tests import buying
from orders.tests.business import counted, counting, in_rows
from payments.models import Payment
from payments.tests.own_gateway import nobody_there

pytestmark = pytest.mark.django_db(transaction=True)
PRICE = 500  # the fixture's


def figures(grown: dict[str, float], prefix: str) -> dict[str, float]:
    """The counted figures of one metric by the value of its label."""
    return {name.split('"')[-2]: number for name, number in grown.items() if name.startswith(prefix)}


def test_a_paid_order_with_coupon_and_points(product):
    increases = counting()
    buyer = buying.account(points=400)
    coupon = buying.coupon_of(buyer, discount_value=100)
    placed = buying.place(buyer, {product: 2}, coupon=coupon.code, points=300, token="tok_ok")
    assert figures(increases(), "firstcome_orders_total") == {"placed": 1}
    buying.advance(placed)

    grown = increases()
    assert figures(grown, "firstcome_orders_total") == {"placed": 1, "paid": 1}
    assert grown["firstcome_revenue_amount_total"] == 2 * PRICE - 100
    assert figures(grown, "firstcome_points_total") == {"granted": 400, "spent": 300}
    assert grown['firstcome_payments_total{gateway="simulator",outcome="succeeded"}'] == 1
    assert grown["firstcome_coupons_redeemed_total"] == 1
    assert grown['firstcome_coupon_requests_total{outcome="issued"}'] == 1
    step = 'firstcome_saga_steps_total{direction="do",outcome="done",saga="purchase",step="%s"}'
    assert [grown[step % name] for name in ("charge_card", "settle")] == [1, 1]
    assert counted(increases) == in_rows()


def test_a_payment_that_is_refused_before_the_charge_has_failed(product):
    """The points were spent on another order since it was placed."""
    increases = counting()
    buyer = buying.account(points=PRICE)
    second = ProductFactory(on_hand=5, price=2 * PRICE)
    first = buying.place(buyer, second, points=PRICE, token="tok_ok")
    buying.buy(buyer, product, points=PRICE, token="")
    buying.advance(first)
    assert increases()['firstcome_payments_total{gateway="simulator",outcome="failed"}'] == 1
    assert counted(increases) == in_rows()


def test_an_order_whose_transaction_is_rolled_back_is_not_counted(product):
    increases, buyer = counting(), buying.account(points=100)
    before = increases()
    with suppress(ZeroDivisionError), transaction.atomic():
        buying.place(buyer, product, points=100, token="tok_ok")
        raise ZeroDivisionError
    assert (increases(), Order.objects.count()) == (before, 0)


def test_a_refusal_is_counted_for_each_product_that_it_names(product):
    other = ProductFactory(on_hand=1)
    api = new_customer()
    increases = Increases("firstcome_product_refusals_total")

    short = [{"product": product.pk, "quantity": 101}, {"product": other.pk, "quantity": 2}]
    assert api.post("/orders", {"items": short}, key="short").json()["code"] == "insufficient_stock"
    enough = [{"product": product.pk, "quantity": 1}]
    no_coupon = api.post("/orders", {"items": enough, "coupon": "NONE"}, key="coupon").json()
    assert no_coupon["code"] == "coupon_not_usable"
    assert api.post("/orders", {"items": enough}, key="enough").status_code == 201

    assert increases() == {
        f'firstcome_product_refusals_total{{code="insufficient_stock",product="{one.pk}"}}': 1
        for one in (product, other)
    }


def exposed(*names: str) -> dict[str, float]:
    return {name: number for name, number in samples.exposed().items() if name.split("{")[0] in names}


def test_open_orders_are_counted_by_status_and_ended_ones_are_not(product):
    buyer = buying.account()
    for _ in range(2):
        buying.place(buyer, product)
    paying = buying.place(buyer, product, token="tok_ok")
    assert exposed("firstcome_orders") == {
        'firstcome_orders{status="awaiting_payment"}': 2,
        'firstcome_orders{status="paying"}': 1,
        'firstcome_orders{status="refunding"}': 0,
    }
    buying.advance(paying)
    buying.refund(paying.order)
    assert state.open_orders() == {"awaiting_payment": 2, "paying": 0, "refunding": 1}


def test_the_last_paid_order_has_an_age_and_placed_ones_change_nothing(product):
    assert exposed("firstcome_orders_paid_age_seconds") == {"firstcome_orders_paid_age_seconds": float("inf")}
    paid = buying.place_for_newcomer(product, token="tok_ok")
    buying.advance(paid)
    buying.change_order(paid.order, paid_at=ago(seconds=60))
    buying.place_for_newcomer(product, token="tok_ok")
    assert 60 <= state.paid_age_seconds() < 90


def test_a_payment_in_doubt_is_counted_with_its_age_until_it_is_settled(product, settings):
    assert state.read_in_doubt() == {state.IN_DOUBT: 0, state.IN_DOUBT_OLDEST: 0.0}
    with nobody_there(settings):
        for _ in range(2):
            buying.advance(buying.place_for_newcomer(product, token="tok_ok"))
    oldest = Payment.objects.order_by("id").first()
    set_columns(oldest, created_at=ago(seconds=90))

    shown = exposed(state.IN_DOUBT, state.IN_DOUBT_OLDEST)
    assert shown[state.IN_DOUBT] == 2
    assert 90 <= shown[state.IN_DOUBT_OLDEST] < 120

    buying.settle_everything()
    assert exposed(state.IN_DOUBT, state.IN_DOUBT_OLDEST) == {state.IN_DOUBT: 0, state.IN_DOUBT_OLDEST: 0}


def test_unfinished_sagas_and_how_long_the_first_is_due(product):
    assert exposed("firstcome_sagas_unfinished", "firstcome_sagas_oldest_due_seconds") == {
        'firstcome_sagas_unfinished{kind="purchase"}': 0,
        'firstcome_sagas_unfinished{kind="refund"}': 0,
        'firstcome_sagas_unfinished{kind="top_up"}': 0,
        "firstcome_sagas_oldest_due_seconds": 0,
    }
    buying.place_for_newcomer(product, token="tok_ok")
    assert state.count_unfinished()["purchase"] == 1
    assert 0 < state.oldest_due_seconds() < 5, "it is due from its commit on"
    due_at = ago(seconds=60)
    Saga.objects.update(next_attempt_at=due_at, created_at=due_at)
    assert 60 <= state.oldest_due_seconds() < 90
    buying.settle_everything()
    assert (state.count_unfinished()["purchase"], state.oldest_due_seconds()) == (0, 0.0)


def test_products_being_sold_have_what_is_available_and_reserved(product):
    ProductFactory(on_hand=7)
    buying.place_for_newcomer(product, 3)
    assert exposed(state.AVAILABLE, state.RESERVED) == {
        f'firstcome_stock_available{{product="{product.id}"}}': 97,
        f'firstcome_stock_reserved{{product="{product.id}"}}': 3,
    }
    buying.advance(buying.place_for_newcomer(product, 2, token="tok_ok"))
    of_product = str(product.id)
    assert state.read_stock() == {state.AVAILABLE: {of_product: 95}, state.RESERVED: {of_product: 3}}


@pytest.mark.parametrize(("reserved", "broken"), [(0, 0), (100, 0), (101, 1), (-1, 1)])
def test_stock_that_can_not_be_is_counted(product, reserved, broken):
    ProductFactory(on_hand=1)
    mend = partial(Product.objects.update, reserved=0)
    with without_constraint(Product, "inventory_product_reserved_within_on_hand", mend):
        set_columns(product, reserved=reserved)
        assert exposed("firstcome_stock_negative") == {"firstcome_stock_negative": broken}


def test_discounts_of_orders_that_were_paid_within_a_day_are_summed_by_campaign(product):
    first, second = CampaignFactory(discount_value=300), CampaignFactory(discount_value=50)
    for campaign, card in ((first, "tok_ok"), (first, "tok_ok"), (second, "tok_ok"), (second, "")):
        buyer = buying.account()
        code = coupon_of(campaign, buyer).code
        placed = buying.place(buyer, product, coupon=code, token=card or None)
        if card:
            buying.advance(placed)
    assert state.read_discounts() == {str(first.pk): 600, str(second.pk): 50}
    shown = exposed("firstcome_campaign_discounts_amount")
    assert shown[f'firstcome_campaign_discounts_amount{{campaign="{first.pk}"}}'] == 600
    Order.objects.filter(discount_amount=300).update(paid_at=ago(hours=25))
    assert state.read_discounts() == {str(second.pk): 50}
    call_command("rebuild_product_days")
