"""The audit finds each kind of damage that is planted."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from coupons.models import Coupon
from events.tests.delivering import dead
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.tests import buying
from shop.models import IdempotencyKey, JournalLine
from shop.tests.case_tables import in_one_test

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def paid() -> Order:
    buyer, product = buying.account(points=100), ProductFactory.create(on_hand=9, price=5_000)
    code = buying.coupon_of(buyer.id).code
    placed = buying.place(buyer.id, {product: 1}, coupon=code, points=50, token="tok_ok")
    return buying.advance(placed)


@pytest.fixture
def cancelled() -> Order:
    """An order whose card was declined after its points were held."""
    buyer, product = buying.account(points=100), ProductFactory.create(on_hand=9, price=5_000)
    return buying.advance(buying.place(buyer.id, {product: 1}, points=50, token="tok_declined"))


def _second_key(paid: Order, ended: Order) -> None:
    key = IdempotencyKey.objects.get(reference=paid.id)
    key.pk, key.key_hash = None, "another"
    key.save()


def _pay_unseen(paid: Order, ended: Order) -> None:
    Order.objects.filter(id=paid.id).update(status="payment_failed", paid_at=None)


def _late_saga(paid: Order, ended: Order) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    Saga.objects.filter(subject_id__in=paid.payments.values("id")).update(
        state="running", ended_at=None, next_attempt_at=long_ago, deadline_at=long_ago
    )


def _never_told(paid: Order, ended: Order) -> None:
    dead(order_id=paid.id, event_id=JournalLine.objects.get(order_id=paid.id, what="order.paid").event_id)


# The law that is broken, and the damage to a paid order or to one whose card was declined.
DAMAGE: list[tuple[str, Callable[[Order, Order], Any]]] = [
    ("L5", lambda paid, ended: Product.objects.filter(order_lines__order=paid).update(reserved=1)),
    ("L6", lambda paid, ended: Coupon.objects.filter(order=paid).update(status="held")),
    ("L8", _second_key),
    ("L9", lambda paid, ended: paid.payments.update(status="failed")),
    ("L9", lambda paid, ended: ended.payments.update(status="succeeded", charge_reference="ch_none")),
    ("L9", _pay_unseen),
    ("L9", lambda paid, ended: paid.payments.update(status="in_doubt", settled_at=None)),
    ("L10", _late_saga),
    ("L11", lambda paid, ended: ended.transfers.filter(kind="release").update(order=paid)),
    ("L12", _never_told),
    ("L12", lambda paid, ended: JournalLine.objects.filter(order_id=paid.id, what="order.paid").delete()),
    # The limit under which its paid units were placed is lowered.
    ("L13", lambda paid, ended: paid.lines.update(limit_per_account=1, quantity=2, line_amount=10_000)),
]


@pytest.mark.django_db
@in_one_test(("law", "damage"), DAMAGE)
def test_planted_damage_is_named(
    law: str, damage: Callable[[Order, Order], Any], paid: Order, cancelled: Order
) -> None:
    assert buying.broken_laws() == []
    damage(paid, cancelled)
    broken = {report.law: report.offenders for report in buying.broken_laws()}
    assert broken.get(law)


def test_an_unreachable_gateway_breaks_l9(paid: Order, settings: Any) -> None:
    settings.GATEWAY_URL = "http://127.0.0.1:1"
    [broken] = buying.broken_laws()
    assert broken.law == "L9"
