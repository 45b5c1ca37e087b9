"""What operators see of an account's purchase limits agrees with what orders are decided by."""

import pytest
from django.contrib.auth.models import User

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.placement import limits
from orders.placement.limits import AccountUsage, ProductUsage
from shop.tests.clients import client_of
from shop.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


def buy(account: User, **quantities: int) -> Order:
    products = dict(Product.objects.values_list("sku", "id"))
    items = [{"product": products[sku], "quantity": quantity} for sku, quantity in quantities.items()]
    answer = client_of(account).post("/orders", {"items": items}, key=f"order {Order.objects.count()}")
    assert answer.status_code == 201, answer.json()
    return Order.objects.get(pk=answer.json()["id"])


def test_unpaid_units_of_all_and_all_units_of_limited_products_are_counted() -> None:
    tea = ProductFactory.create(sku="TEA", on_hand=50, limit_per_account=9)
    cup = ProductFactory.create(sku="CUP", on_hand=50)
    account, other = AccountFactory(), AccountFactory()
    paid = buy(account, TEA=4, CUP=4)
    Order.objects.filter(pk=paid.pk).update(status="paid", paid_at=paid.placed_at)
    paid.lines.filter(product=tea).update(refunded_quantity=1)
    buy(account, TEA=2, CUP=1)
    client_of(account).post(f"/orders/{buy(account, TEA=1).pk}/cancel")
    buy(other, TEA=5)

    usage = limits.read_usage(account.pk)

    products = [ProductUsage(tea.pk, "TEA", 9, 2, 5), ProductUsage(cup.pk, "CUP", None, 1, 1)]
    assert usage == AccountUsage(1, products, True)
    # The next order is decided by the same count.
    items = [{"product": tea.pk, "quantity": 5}]
    refused = client_of(account).post("/orders", {"items": items}, key="too many")
    assert refused.json()["items"] == [{"product": tea.pk, "limit": 9, "held": 5}]


def test_more_orders_or_products_than_are_read_are_said_to_be_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ProductFactory.create(sku="TEA", on_hand=50)
    ProductFactory.create(sku="CUP", on_hand=50)
    account = AccountFactory()
    for _ in range(3):
        buy(account, TEA=1, CUP=2)
    monkeypatch.setattr(limits, "MOST_ORDERS", 2)
    usage = limits.read_usage(account.pk)
    assert (usage.unpaid_orders, usage.is_complete) == (3, False)
    assert [(one.sku, one.unpaid_units) for one in usage.products] == [("CUP", 4), ("TEA", 2)]
    monkeypatch.setattr(limits, "MOST_ORDERS", 9)
    monkeypatch.setattr(limits, "MOST_PRODUCTS", 1)
    usage = limits.read_usage(account.pk)
    assert ([one.sku for one in usage.products], usage.is_complete) == (["CUP"], False)
