"""The audit finds refunds that don't add up: each kind of damage is planted and named under L9."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from inventory.tests.factories import ProductFactory
from orders.models import Order, OrderLine, Refund, Saga
from orders.tests import buying
from payments.models import Entry, Payment, Transfer
from shop.tests.case_tables import in_one_test

pytestmark = pytest.mark.django_db(transaction=True)


def _give_back_uncounted(order: Order) -> None:
    Order.objects.filter(id=order.id).update(refunded_amount=F("refunded_amount") + 1)


def _forget_what_is_under_way(order: Order) -> None:
    Order.objects.filter(id=order.id).update(status=Order.Status.PAID)


def _call_it_refunded(order: Order) -> None:
    """Mark the order refunded while one refund is pending and a unit is left."""
    Order.objects.filter(id=order.id).update(status=Order.Status.REFUNDED)


def _take_more_of_the_line(order: Order) -> None:
    OrderLine.objects.filter(order=order).update(refunded_quantity=3)


def _take_less_of_the_card(order: Order) -> None:
    Payment.objects.filter(order=order).update(refunding_amount=0)


def _give_more_to_the_card(order: Order) -> None:
    Payment.objects.filter(order=order).update(refunded_amount=F("refunded_amount") + 1)


def _book_nothing(order: Order) -> None:
    Transfer.objects.filter(order=order, kind=Transfer.Kind.REFUND).update(order=None)


def _book_points_as_card(order: Order) -> None:
    Entry.objects.filter(transfer__order=order, transfer__kind=Transfer.Kind.REFUND, account_id__gt=0).update(
        amount=F("amount") + 1
    )


def _end_the_saga(order: Order) -> None:
    started = Refund.objects.get(order=order, status=Refund.Status.PENDING)
    Saga.objects.filter(subject_id=started.id).update(
        state="done", ended_at=timezone.now(), next_attempt_at=None
    )


DAMAGE: list[Callable[[Order], Any]] = [
    _give_back_uncounted,
    _forget_what_is_under_way,
    _call_it_refunded,
    _take_more_of_the_line,
    _take_less_of_the_card,
    _give_more_to_the_card,
    _book_nothing,
    _book_points_as_card,
    _end_the_saga,
]


@pytest.fixture
def refunded() -> tuple[Order, Refund]:
    """Of three units one is refunded, one is about to be by this refund, and one is left."""
    buyer, product = buying.account(points=90), ProductFactory.create(on_hand=3, price=100)
    order = buying.advance(buying.place(buyer.id, {product: 3}, points=90, token="tok_ok"))
    buying.execute_refund(buying.refund(order.id, {product: 1}))
    started = buying.refund(order.id, {product: 1})
    assert buying.broken_laws() == []
    return order, started.refund


@pytest.mark.django_db
@in_one_test("damage", DAMAGE)
def test_planted_damage_is_named(damage: Callable[[Order], Any], refunded: tuple[Order, Refund]) -> None:
    order, refund = refunded
    damage(order)
    broken = {report.law: report.offenders for report in buying.broken_laws()}
    assert {str(order.id), str(refund.id)} & set(broken["L9"])


def test_an_order_that_is_paid_again_says_so() -> None:
    product = ProductFactory.create(on_hand=2)
    order = buying.advance(buying.place(buying.account().id, {product: 2}, token="tok_ok"))
    buying.execute_refund(buying.refund(order.id, {product: 1}))
    for status in (Order.Status.REFUNDING, Order.Status.REFUNDED):
        Order.objects.filter(id=order.id).update(status=status)
        assert [report.law for report in buying.broken_laws()] == ["L9"]
    Order.objects.filter(id=order.id).update(status=Order.Status.PAID)
    assert buying.broken_laws() == []
