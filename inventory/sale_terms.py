"""Which sale's terms hold for a product: `inventory` keeps the sale's id, and knows nothing more of it.

An order reads the id with the stock it locks, or requires the version it read. So a change of a sale's terms
that locks its products has no order beside it that was decided by the terms before.
"""

from collections.abc import Collection
from typing import NamedTuple

from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce

from foundation.db import open_transaction
from inventory import stock_levels
from inventory.models import Product


class Levels(NamedTuple):
    """Units of some products together: on hand of all of them, and available of those that can be ordered."""

    on_hand: int
    available: int


def lock(product_ids: Collection[int]) -> dict[int, int | None]:
    """Lock these products until the transaction ends: the sale of each; ids that don't exist are absent.

    From here on no order of them commits that was decided before, and their versions have changed.
    """
    open_transaction.assert_inside()
    locked = stock_levels.lock_products(product_ids)
    Product.objects.filter(id__in=locked).update(version=F("version") + 1)
    for product in locked.values():
        product.version += 1
    stock_levels.publish_on_commit([*locked.values()])
    return {product.id: product.sale_id for product in locked.values()}


def assign(product_ids: Collection[int], *, sale_id: int | None) -> None:
    """Let the terms of this sale hold for these products, or of none; `lock` them first."""
    open_transaction.assert_inside()
    Product.objects.filter(id__in=product_ids).update(sale_id=sale_id)


def read_levels(product_ids: Collection[int]) -> Levels:
    """What these products have together now, without a lock."""
    can_be_ordered = Q(is_active=True, paused_at__isnull=True)
    found = Product.objects.filter(id__in=product_ids).aggregate(
        units_on_hand=Coalesce(Sum("on_hand"), 0),
        units_available=Coalesce(Sum(F("on_hand") - F("reserved"), filter=can_be_ordered), 0),
    )
    return Levels(int(found["units_on_hand"]), int(found["units_available"]))
