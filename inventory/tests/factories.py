"""Rows for tests: products whose stock was received by a movement, as in production."""

from collections.abc import Mapping, Sequence

import factory
from django.utils import timezone

from inventory import availability, products, rows as stock_rows, stock_levels
from inventory.availability import Line, Stock
from inventory.models import Product, StockMovement


class ProductFactory(factory.django.DjangoModelFactory[Product]):
    class Meta:
        model = Product
        skip_postgeneration_save = True

    sku = factory.Sequence(lambda number: f"SKU-{number:06}")
    name = factory.Sequence(lambda number: f"Product {number}")
    price = 1_000
    on_hand = 0

    @factory.post_generation
    def movement(product, create: bool, extracted: None, **_):  # noqa: N805
        if create and product.on_hand:
            StockMovementFactory(product=product, delta=product.on_hand, on_hand_after=product.on_hand)


class StockMovementFactory(factory.django.DjangoModelFactory[StockMovement]):
    class Meta:
        model = StockMovement

    product = factory.SubFactory(ProductFactory)
    kind = StockMovement.Kind.RECEIVED
    delta = 1
    on_hand_after = 1
    at = factory.LazyFunction(timezone.now)


def pause(product) -> Product:
    return products.set_paused(product_id=product.pk, is_paused=True, reason="The price is wrong.")


def resume(product) -> Product:
    return products.set_paused(product_id=product.pk, is_paused=False, reason="The price is right.")


def levels_of(product) -> tuple[int, int]:
    """On hand and reserved as they are now."""
    product.refresh_from_db()
    return product.on_hand, product.reserved


def check_and_reserve(stock: Mapping[int, Stock], lines: Sequence[Line], *, is_locked=True):
    """What placing an order does with stock that it has read."""
    availability.check_sold(stock, lines)
    availability.check_available(stock, lines)
    availability.reserve(stock, lines)
    stock_levels.save(stock, is_locked=is_locked)


def reserve(*lines: Line):
    """Reserve these lines inside the open transaction, under the locks of their products."""
    check_and_reserve(stock_rows.lock_stock([line.product_id for line in lines]), lines)
