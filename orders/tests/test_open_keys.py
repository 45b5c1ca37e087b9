"""A key is kept while what it started is open; its retention starts at the end of that."""

from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User

from inventory.models import Product
from inventory.reservations import Line
from orders import schemas
from orders.models import Order, Refund
from orders.payment import refunding
from orders.payment.refunding import StartedRefund
from orders.placement import checkout
from orders.placement.decisions import PlacedOrder
from orders.tests import buying
from payments.models import Payment
from shop import clock
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import Replay
from shop.models import IdempotencyKey
from shop.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db(transaction=True)


def ask(buyer: User, product: Product) -> PlacedOrder | Replay:
    """The same call each time."""
    return checkout.place(buying.order_request(buyer.pk, {product: 1}, token="tok_ok", key="same"))


def grow_old(settings: LazySettings, *, payments_too: bool = False) -> None:
    age = timedelta(seconds=settings.IDEMPOTENCY_RETENTION_SECONDS + 1)
    for key in IdempotencyKey.objects.all():
        IdempotencyKey.objects.filter(pk=key.pk).update(created_at=key.created_at - age)
    for payment in Payment.objects.filter(settled_at__isnull=False) if payments_too else ():
        Payment.objects.filter(pk=payment.pk).update(settled_at=payment.settled_at - age)


def test_a_payment_that_is_open_for_longer_than_a_day_keeps_its_key_and_no_second_order_is_placed(
    product: Product, settings: LazySettings
) -> None:
    buyer = buying.account()
    placed = ask(buyer, product)
    assert isinstance(placed, PlacedOrder)
    grow_old(settings)
    assert recorded_answers.delete_expired_keys() == 0
    again = ask(buyer, product)
    assert isinstance(again, Replay)
    assert again.reference == placed.order.id

    buying.advance(placed)
    assert recorded_answers.delete_expired_keys() == 0, (
        "it settled a moment ago: the answer is still to be asked for"
    )
    assert isinstance(ask(buyer, product), Replay)
    assert Order.objects.count() == 1


def test_a_refund_that_is_pending_for_longer_than_a_day_keeps_its_key_and_is_not_started_twice(
    product: Product, settings: LazySettings
) -> None:
    order = buying.advance(buying.place(buying.account().pk, {product: 2}, token="tok_ok"))
    staff = AccountFactory.create(is_staff=True)
    keyed = buying.keyed(staff.pk, schemas.refund_answer)

    def refund() -> StartedRefund | Replay:
        lines = [Line(product_id=product.pk, quantity=1)]
        return refunding.start_refund(
            order_id=order.pk, wanted=lines, reason="broken", restock=True, keyed=keyed
        )

    started = refund()
    assert isinstance(started, StartedRefund)
    grow_old(settings)
    recorded_answers.delete_expired_keys()
    assert isinstance(refund(), Replay)
    buying.execute_refund(started)
    grow_old(settings)
    Refund.objects.update(settled_at=clock.now() - timedelta(days=2))
    recorded_answers.delete_expired_keys()
    assert isinstance(refund(), StartedRefund)


def test_a_key_is_deleted_a_day_after_its_payment_has_settled(
    product: Product, settings: LazySettings
) -> None:
    buyer = buying.account()
    placed = ask(buyer, product)
    assert isinstance(placed, PlacedOrder)
    buying.advance(placed)
    grow_old(settings, payments_too=True)
    assert isinstance(ask(buyer, product), PlacedOrder)
    assert recorded_answers.delete_expired_keys() == 0
    grow_old(settings)
    Payment.objects.filter(settled_at__isnull=True).delete()
    assert recorded_answers.delete_expired_keys() == 1
