"""`stock.low` is sent once each time what is available falls to the threshold, and never otherwise."""

from uuid import uuid4

import pytest

from inventory import adjustments, products, reservations
from inventory.imports import importing
from inventory.imports.importing import StockRow
from inventory.models import Product
from inventory.reservations import Line
from inventory.tests import factories
from inventory.tests.factories import ProductFactory
from shop.db import transactions
from shop.feed_models import FeedEvent
from shop.models import JournalLine
from shop.tests.factories import OrderFactory

pytestmark = pytest.mark.django_db


def product_of(on_hand: int, threshold: int | None) -> Product:
    return ProductFactory.create(on_hand=on_hand, low_stock_threshold=threshold)


def reserve(product: Product, quantity: int) -> None:
    line = Line(product.id, quantity)
    transactions.run_or_savepoint(lambda: factories.reserve(line), transactions.KEYED)


def release(product: Product, quantity: int) -> None:
    transactions.run(lambda: reservations.release([Line(product.id, quantity)]), transactions.KEYED)


def sent() -> list[int]:
    """What was available in each event `stock.low`."""
    lines = JournalLine.objects.filter(what="stock.low").order_by("id")
    return [line.after["available"] for line in lines]


def test_the_event_says_which_product_and_how_much_is_left():
    product = product_of(10, 4)
    reserve(product, 6)
    line = JournalLine.objects.get(what="stock.low")
    assert line.after == {"product": product.id, "sku": product.sku, "available": 4, "threshold": 4}
    assert (line.subject, line.before) == (f"product {product.id}", {"available": 10})
    assert FeedEvent.objects.get(event_id=line.event_id).type == "stock.low"
    assert (line.actor, line.order_id, line.is_internal) == ("system", None, False)


def test_it_is_sent_when_the_stock_falls_to_it_or_past_it_and_not_again_while_it_is_low():
    product = product_of(10, 4)
    for quantity in (5, 1, 1, 2):
        reserve(product, quantity)
    assert sent() == [4]
    release(product, 9)
    reserve(product, 10)
    assert sent() == [4, 0]


def test_adjusting_down_sends_it_and_up_does_not():
    product = product_of(10, 4)
    adjustments.adjust(product_id=product.id, delta=-7, reason="broken")
    adjustments.adjust(product_id=product.id, delta=1, reason="found")
    adjustments.receive(product_id=product.id, quantity=1, reason="delivery")
    assert sent() == [3]


def test_a_delivery_and_a_return_never_make_the_stock_low():
    product, order = product_of(0, 4), OrderFactory.create().pk
    transactions.run(
        lambda: reservations.restock({order: [Line(product.id, 1)]}, "refund"), transactions.KEYED
    )
    row = StockRow(line=1, sku=product.sku, name=None, price=None, quantity=2)
    importing.receive([row], delivery_id=uuid4(), reason="delivery")
    assert sent() == []


@pytest.mark.parametrize(("threshold", "expected"), [(None, []), (0, [0])])
def test_without_a_threshold_it_is_never_sent_and_with_0_when_nothing_is_left(threshold, expected):
    product = product_of(2, threshold)
    reserve(product, 1)
    reserve(product, 1)
    assert sent() == expected


def test_a_new_threshold_counts_for_later_changes():
    product = product_of(10, None)
    reserve(product, 8)
    products.change(product_id=product.id, low_stock_threshold=5)
    release(product, 8)
    reserve(product, 6)
    products.change(product_id=product.id, low_stock_threshold=None)
    assert sent() == [4]


def test_a_refused_or_rolled_back_reservation_sends_nothing():
    product = product_of(10, 4)

    def fail() -> None:
        reserve(product, 8)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        transactions.run(fail, transactions.KEYED)
    assert sent() == []
