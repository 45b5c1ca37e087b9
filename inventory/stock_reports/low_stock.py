"""Which products are low on stock, for a page that is opened often: only so many products are looked at."""

from dataclasses import dataclass

from inventory.models import Product

MOST_CHECKED = 20_000
"""Products with a threshold that one reading looks at: their stock has no index, so each row is read."""
# The one that is furthest below its threshold first.
READ_LOW = """
SELECT * FROM (
    SELECT * FROM inventory_product WHERE low_stock_threshold IS NOT NULL
    ORDER BY low_stock_threshold DESC LIMIT %s
) checked WHERE is_active AND on_hand - reserved <= low_stock_threshold
ORDER BY on_hand - reserved - CAST(low_stock_threshold AS SIGNED), id LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class LowStock:
    """Products of which no more is available than their threshold; some, if not all were looked at."""

    products: list[Product]
    is_complete: bool


def read_low(*, most: int) -> LowStock:
    """The `most` active products that are furthest below their thresholds.

    Beyond `MOST_CHECKED` products with a threshold those with the lowest thresholds are left out.
    """
    watched = Product.objects.filter(low_stock_threshold__isnull=False).order_by("-low_stock_threshold")
    is_more = watched.values("pk")[MOST_CHECKED : MOST_CHECKED + 1].exists()
    return LowStock(list(Product.objects.raw(READ_LOW, [MOST_CHECKED, most])), not is_more)
