"""Every change of stock locks the product, increments its version, and is recorded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from inventory import adjustments, reservations
from inventory.imports import importing
from inventory.imports.importing import StockRow
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory
from orders import cancellation
from orders.models import Order
from orders.payment import purchase
from orders.placement import checkout
from orders.tests import buying
from orders.tests.waiting import somebody_waits_at_the_stock
from shop.db import transactions
from shop.models import JournalLine
from shop.tests.racing import wait_until
from shop.tests.second_connection import holding
from shop.tests.waiting import in_background

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Case:
    """A change of a product with 10 on hand: the action, the change of on hand and available, the records."""

    prepare: Callable[[Product], Callable[[], Any]]
    on_hand: int
    available: int
    what: str
    movement: str = ""


def place(product: Product) -> Callable[[], Any]:
    order_request = buying.order_request(buying.account().id, {product: 2})
    return lambda: checkout.place(order_request)


def cancel(product: Product) -> Callable[[], Any]:
    order = buying.place(buying.account().id, {product: 2}).order
    return lambda: cancellation.cancel(order_id=order.id, account_id=None)


def expire(product: Product) -> Callable[[], Any]:
    order = buying.place(buying.account().id, {product: 2}).order
    Order.objects.filter(id=order.id).update(expires_at=timezone.now())
    return cancellation.expire_due


def decline(product: Product) -> Callable[[], Any]:
    placed = buying.place(buying.account().id, {product: 2}, token="tok_declined")
    return lambda: buying.advance(placed)


def pay(product: Product) -> Callable[[], Any]:
    placed = buying.place(buying.account().id, {product: 2}, token="tok_ok")
    return lambda: buying.advance(placed)


def put_back(product: Product) -> Callable[[], Any]:
    order = buying.advance(buying.place(buying.account().id, {product: 2}, token="tok_ok"))
    lines = purchase.read_lines([order.id])[order.id]
    return lambda: transactions.run(
        lambda: reservations.restock({order.id: lines}, "wrong colour"), transactions.KEYED
    )


def adjust(product: Product) -> Callable[[], Any]:
    return lambda: adjustments.adjust(product_id=product.id, delta=-2, reason="broken")


def receive(product: Product) -> Callable[[], Any]:
    return lambda: adjustments.receive(product_id=product.id, quantity=2, reason="delivery")


def bring_in(product: Product) -> Callable[[], Any]:
    row = StockRow(line=1, sku=product.sku, name=None, price=None, quantity=2)
    return lambda: importing.receive([row], delivery_id=uuid4(), reason="delivery")


CASES = {
    "an order": Case(place, 0, -2, "order.placed"),
    "a cancelled order": Case(cancel, 0, 2, "stock.released"),
    "an expired order": Case(expire, 0, 2, "stock.released"),
    "a declined payment": Case(decline, 0, 2, "stock.released"),
    "a paid order": Case(pay, -2, 0, "stock.sold", "sold"),
    "a return": Case(put_back, 2, 2, "stock.returned", "returned"),
    "an adjustment": Case(adjust, -2, -2, "stock.adjusted", "adjusted"),
    "a delivery": Case(receive, 2, 2, "stock.received", "received"),
    "an import": Case(bring_in, 2, 2, "stock.received", "received"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_waits_for_the_products_lock_and_is_recorded(name: str) -> None:
    case, product = CASES[name], ProductFactory.create(on_hand=10)
    change = case.prepare(product)
    product.refresh_from_db()
    last_movement, last_line = StockMovement.objects.latest("id").id, 0
    if JournalLine.objects.exists():
        last_line = JournalLine.objects.latest("id").id
    with holding("SELECT id FROM inventory_product WHERE id = %s FOR UPDATE", product.id):
        outcome = in_background(change)
        wait_until(somebody_waits_at_the_stock)
        assert not outcome.done()
    outcome.result(timeout=20)

    after = Product.objects.get(id=product.id)
    assert after.on_hand - product.on_hand == case.on_hand
    assert after.available - product.available == case.available
    assert after.version == product.version + 1
    moved = StockMovement.objects.filter(id__gt=last_movement).values_list("kind", "delta", "on_hand_after")
    assert list(moved) == ([(case.movement, case.on_hand, after.on_hand)] if case.movement else [])
    assert case.what in JournalLine.objects.filter(id__gt=last_line).values_list("what", flat=True)
