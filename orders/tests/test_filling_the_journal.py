"""The migration fills the journal of older orders from the logs of their sagas."""

from importlib import import_module

import pytest
from django.apps import apps

from inventory.tests.factories import ProductFactory
from orders import cancellation, selectors
from orders.models import Order, Saga
from orders.tests import buying
from shop.models import JournalLine

pytestmark = pytest.mark.django_db(transaction=True)
filling = import_module("orders.migrations.0003_fill_journal")


def timeline_of(order: Order) -> list[str]:
    """The order's timeline, without lines that only the journal has."""
    words = selectors.timeline(order.id, for_staff=True).values_list("what", flat=True)
    return sorted(word for word in words if not word.startswith(("coupon.", "points.", "stock.")))


def test_the_filled_timeline_is_the_one_that_would_have_been_written() -> None:
    product = ProductFactory.create(on_hand=9)
    buyer = buying.account(points=500)
    tokens = ["tok_ok", "tok_declined", "tok_flaky"]
    placed = [buying.place(buyer.id, {product: 1}, token=token, points=100) for token in tokens]
    orders = [one.order for one in placed]
    for one in placed:
        buying.advance(one)
    orders.append(buying.place(buyer.id, {product: 1}).order)
    cancellation.cancel(order_id=orders[-1].id, account_id=buyer.id)
    buying.settle_everything()
    before = [timeline_of(order) for order in orders]
    JournalLine.objects.all().delete()
    Saga.objects.update(about_id=None)
    filling.fill(apps, None)
    assert [timeline_of(order) for order in orders] == before
    assert Saga.objects.filter(about_id__isnull=True).count() == 0
    paid = JournalLine.objects.filter(what="order.paid")
    assert set(paid.values_list("delivery", flat=True)) == {"delivered"}


def test_events_that_the_data_platform_has_not_received_are_left_to_the_outbox() -> None:
    placed = buying.place(buying.account().id, {ProductFactory.create(on_hand=9): 1}, token="tok_ok")
    buying.advance(placed)
    JournalLine.objects.all().delete()
    placed.started.saga.log.filter(step="transmit").delete()
    filling.fill(apps, None)
    line = JournalLine.objects.get(what="order.paid")
    assert (line.delivery, line.after["order"]) == ("queued", str(placed.order.id))
