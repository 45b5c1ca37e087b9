"""The gauges of orders, payments, sagas and stock: what is open, in doubt, being sold, and must never be."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from coupons.tests.test_audit import without_constraint
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.metrics import state
from orders.models import Saga
from orders.saga import status
from orders.tests import buying
from payments.models import Payment
from shop.observability import gauges

pytestmark = pytest.mark.django_db(transaction=True)
NOWHERE = "http://127.0.0.1:1"


def exposed(*names: str) -> dict[str, float]:
    lines = [line.rsplit(maxsplit=1) for line in gauges.exposition().decode().splitlines()]
    return {name: float(number) for name, number in lines if name.split("{")[0] in names}


def test_open_orders_are_counted_by_status_and_ended_ones_are_not(product: Product) -> None:
    buyer = buying.account()
    for _ in range(2):
        buying.place(buyer.id, {product: 1})
    paying = buying.place(buyer.id, {product: 1}, token="tok_ok")
    assert exposed("firstcome_orders") == {
        'firstcome_orders{status="awaiting_payment"}': 2,
        'firstcome_orders{status="paying"}': 1,
        'firstcome_orders{status="refunding"}': 0,
    }
    buying.advance(paying)
    buying.refund(paying.order.id)
    assert state.open_orders() == {"awaiting_payment": 2, "paying": 0, "refunding": 1}


def test_a_payment_in_doubt_is_counted_with_its_age_until_it_is_settled(
    product: Product, settings: Any
) -> None:
    reachable, settings.GATEWAY_URL = settings.GATEWAY_URL, NOWHERE
    assert state.read_in_doubt() == {state.IN_DOUBT: 0, state.IN_DOUBT_OLDEST: 0.0}
    for _ in range(2):
        buying.advance(buying.place(buying.account().id, {product: 1}, token="tok_ok"))
    oldest = Payment.objects.order_by("id").first()
    assert oldest
    Payment.objects.filter(id=oldest.id).update(created_at=timezone.now() - timedelta(seconds=90))

    shown = exposed(state.IN_DOUBT, state.IN_DOUBT_OLDEST)
    assert shown[state.IN_DOUBT] == 2
    assert 90 <= shown[state.IN_DOUBT_OLDEST] < 120

    settings.GATEWAY_URL = reachable
    buying.settle_everything()
    assert exposed(state.IN_DOUBT, state.IN_DOUBT_OLDEST) == {state.IN_DOUBT: 0, state.IN_DOUBT_OLDEST: 0}


def test_unfinished_sagas_and_how_long_the_first_is_due(product: Product) -> None:
    assert exposed("firstcome_sagas_unfinished", "firstcome_sagas_oldest_due_seconds") == {
        'firstcome_sagas_unfinished{kind="purchase"}': 0,
        'firstcome_sagas_unfinished{kind="refund"}': 0,
        'firstcome_sagas_unfinished{kind="top_up"}': 0,
        "firstcome_sagas_oldest_due_seconds": 0,
    }
    buying.place(buying.account().id, {product: 1}, token="tok_ok")
    assert (status.count_unfinished()["purchase"], status.oldest_due_seconds()) == (1, 0.0)
    Saga.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=60))
    assert 60 <= status.oldest_due_seconds() < 90
    buying.settle_everything()
    assert (status.count_unfinished()["purchase"], status.oldest_due_seconds()) == (0, 0.0)


def test_products_being_sold_have_what_is_available_and_reserved(product: Product) -> None:
    ProductFactory.create(on_hand=7)
    buying.place(buying.account().id, {product: 3})
    assert exposed(state.AVAILABLE, state.RESERVED) == {
        f'firstcome_stock_available{{product="{product.id}"}}': 97,
        f'firstcome_stock_reserved{{product="{product.id}"}}': 3,
    }
    buying.advance(buying.place(buying.account().id, {product: 2}, token="tok_ok"))
    assert state.read_stock() == {
        state.AVAILABLE: {str(product.id): 95},
        state.RESERVED: {str(product.id): 3},
    }


@pytest.mark.parametrize(("reserved", "broken"), [(0, 0), (100, 0), (101, 1), (-1, 1)])
def test_stock_that_can_not_be_is_counted(product: Product, reserved: int, broken: int) -> None:
    ProductFactory.create(on_hand=1)
    mend = partial(Product.objects.update, reserved=0)
    with without_constraint(Product, "inventory_product_reserved_within_on_hand", mend):
        Product.objects.filter(id=product.id).update(reserved=reserved)
        assert exposed("firstcome_stock_negative") == {"firstcome_stock_negative": broken}
