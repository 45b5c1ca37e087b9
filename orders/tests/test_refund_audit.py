"""The audit finds refunds that don't add up: each kind of damage is planted and named under L9."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import F, QuerySet
from django.utils import timezone

from inventory.tests.factories import ProductFactory
from orders.models import Order, Refund, Saga
from orders.tests import buying
from payments.models import Entry
from shop.tests.case_tables import in_one_test

pytestmark = pytest.mark.django_db(transaction=True)


def _row(order: Order) -> QuerySet[Order]:
    return Order.objects.filter(id=order.id)


def _wallet_entries(order: Order) -> QuerySet[Entry]:
    return Entry.objects.filter(transfer__order=order, transfer__kind="refund", account_id__gt=0)


def _end_the_saga(order: Order) -> None:
    rows = Saga.objects.filter(subject_id=order.refunds.get(status="pending").id)
    rows.update(state="done", ended_at=timezone.now(), next_attempt_at=None)


DAMAGE: dict[str, Callable[[Order], Any]] = {
    "more given back": lambda order: _row(order).update(refunded_amount=F("refunded_amount") + 1),
    "one under way forgotten": lambda order: _row(order).update(status=Order.Status.PAID),
    "refunded with a unit left": lambda order: _row(order).update(status=Order.Status.REFUNDED),
    "more of the line": lambda order: order.lines.update(refunded_quantity=3),
    "less of the card": lambda order: order.payments.update(refunding_amount=0),
    "more to the card": lambda order: order.payments.update(refunded_amount=F("refunded_amount") + 1),
    "nothing booked": lambda order: order.transfers.filter(kind="refund").update(order=None),
    "points booked as card": lambda order: _wallet_entries(order).update(amount=F("amount") + 1),
    "saga ended": _end_the_saga,
}


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
def test_planted_damage_is_named(damage: str, refunded: tuple[Order, Refund]) -> None:
    order, refund = refunded
    DAMAGE[damage](order)
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
