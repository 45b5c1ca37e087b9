"""The stock of products as orders read it: plain rows, because a batch reads hundreds of them. And what a
change of its levels means for what is available.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import NamedTuple

from foundation import lazy_texts
from foundation.errors import Rejected
from foundation.lazy_texts import mark


@dataclass(slots=True)
class Stock:
    """A copy of a product's row, with `is_active` and `paused_at` as the driver returns them.
    `newly_reserved` is reserved in memory and not written yet.
    """

    id: int
    sku: str
    name: str
    price: int
    on_hand: int
    reserved: int
    is_active: bool
    paused_at: datetime | str | None
    sale_id: int | None
    low_stock_threshold: int | None
    limit_per_account: int | None
    version: int
    newly_reserved: int = 0

    @property
    def available(self) -> int:
        """How many units the next order may reserve."""
        return self.on_hand - self.reserved - self.newly_reserved


Stocks = dict[int, Stock]
"""The stock of products, by their ids."""
COLUMNS = [field.name for field in fields(Stock) if field.name != "newly_reserved"]


class Change(NamedTuple):
    """What is added to a product's levels; negative numbers are subtracted."""

    on_hand: int = 0
    reserved: int = 0


def is_low(before: int, after: int, threshold: int | None) -> bool:
    """Whether what is available has fallen to the product's threshold, if it has one."""
    return threshold is not None and before > threshold >= after


def is_turn(before: int, after: int) -> bool:
    """Whether a product is sold out, or available again."""
    return (before > 0) != (after > 0)


def insufficient_stock(short: Sequence[dict[str, int]], kind: type[Rejected] = Rejected) -> Rejected:
    """The refusal of an order or an adjustment: `{product, requested, available}` for each product short.

    `kind` is `Held` where more would be available without unpaid orders.
    """
    texts = [mark("product {product} ({available} available)", **item) for item in short]
    detail = mark("Not enough in stock: {products}.", products=lazy_texts.join(", ", texts))
    return kind(detail, code="insufficient_stock", items=short)


def product_paused(product_ids: Sequence[int]) -> Rejected:
    """The refusal of an order of paused products: `{product}` for each of them."""
    names = lazy_texts.join(", ", [mark("product {product}", product=id) for id in product_ids])
    return Rejected(
        mark(
            "Not for sale at the moment: {products}. Order without them, or try again later.", products=names
        ),
        code="product_paused",
        items=[{"product": id} for id in product_ids],
    )
