"""The audit names each damage of orders under a waiting room, and of the entries that they used."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings

from inventory.tests.factories import ProductFactory
from orders import cancellation
from orders.models import Order, OrderLine
from orders.tests import buying
from sales.models import Sale, SaleEntry
from sales.tests import factories
from sales.waiting_room import admission
from shop import clock
from shop.tests.case_tables import in_one_test

pytestmark = pytest.mark.django_db
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def order() -> Order:
    """An order of an admitted account, beside one of another account and one of a product without a sale."""
    product, free = ProductFactory(on_hand=9), ProductFactory(on_hand=9)
    sale = factories.create_sale(product)
    buyers = [buying.account() for _ in range(2)]
    for buyer in buyers:
        factories.join(sale, buyer.id)
    admission.advance(sale.pk)
    placed, _ = [buying.place(buyer.id, {product: 1, free: 1}) for buyer in buyers]
    buying.place(buyers[0].id, {free: 1})
    return Order.objects.get(pk=placed.order.id)


def used_by(order: Order) -> Any:
    """The entry that the order used, as rows that can be updated."""
    return SaleEntry.objects.filter(order=order)


def _place_under_another_sale(order: Order) -> None:
    """Its entry stays used for the other line."""
    other = factories.create_sale()
    OrderLine.objects.filter(order=order, sale=None).update(sale=other.pk)


DAMAGE: dict[str, Callable[[Order], Any]] = {
    "entry lost": lambda order: used_by(order).delete(),
    "entry free": lambda order: used_by(order).update(status="admitted", order=None),
    "entry of another account": lambda order: used_by(order).update(account=buying.account().id),
    "admitted after the order": lambda order: used_by(order).update(
        admitted_at=order.placed_at + admission.LARGEST_STEP + MICROSECOND
    ),
    "expired at the order": lambda order: used_by(order).update(admitted_until=order.placed_at),
    "line without its sale": lambda order: OrderLine.objects.filter(order=order).update(sale=None),
    "line of another sale": _place_under_another_sale,
}


@in_one_test("name", DAMAGE)
def test_planted_damage_is_named_by_l14_alone_with_its_only_offender(name: str, order: Order) -> None:
    assert buying.broken_laws() == []
    DAMAGE[name](order)
    expected = f"entry {used_by(order).get().pk}" if name == "line without its sale" else str(order.id)
    assert [(one.law, one.offenders) for one in buying.broken_laws()] == [("L14", [expected])]


def test_an_order_at_the_instant_of_its_admission_breaks_nothing(order: Order) -> None:
    used_by(order).update(admitted_at=order.placed_at, admitted_until=order.placed_at + MICROSECOND)
    assert buying.broken_laws() == []


def test_a_clock_of_admissions_that_is_ahead_breaks_nothing(order: Order) -> None:
    """As after a failover to a database whose clock is behind."""
    ahead = timedelta(minutes=7)
    used_by(order).update(admitted_at=order.placed_at + ahead)
    assert [one.law for one in buying.broken_laws()] == ["L14"]
    Sale.objects.update(admission_clock_ahead=ahead)
    assert buying.broken_laws() == []


def test_an_entry_stays_used_however_its_order_ends(order: Order) -> None:
    with clock.shifted(by=timedelta(seconds=settings.ORDER_HOLD_SECONDS + 1)):
        cancellation.expire_due()
    order.refresh_from_db()
    assert order.status == "expired"
    assert used_by(order).get().status == "used"
    assert buying.broken_laws() == []
