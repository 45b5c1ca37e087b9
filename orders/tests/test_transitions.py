"""A way that is not in the table is impossible."""

import itertools

import pytest
from django.utils import timezone

from inventory.tests.factories import ProductFactory
from orders import transitions
from orders.models import Order
from orders.tests import buying

ALL = [status.value for status in Order.Status]


@pytest.mark.django_db
@pytest.mark.parametrize(("source", "target"), list(itertools.product(ALL, ALL)))
def test_an_order_moves_only_as_the_table_says(source: str, target: str) -> None:
    placed = buying.place(buying.account().id, {ProductFactory.create(on_hand=1): 1})
    paid_at = timezone.now() if source in transitions.PAID else None
    Order.objects.filter(id=placed.order.id).update(status=source, paid_at=paid_at)
    target_paid_at = timezone.now() if target in transitions.PAID else None
    moved = transitions.move([placed.order.id], to=target, paid_at=target_paid_at)
    assert moved == (target in transitions.TRANSITIONS[source])
    assert buying.state_of(placed.order.id) == (target if moved else source)


def test_every_status_has_its_row() -> None:
    assert set(transitions.TRANSITIONS) == set(ALL)
