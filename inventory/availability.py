"""The stock of products as orders read it: what can be reserved, and what a change means for what is
available.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import NamedTuple

from foundation import lazy_texts
from foundation.errors import Held, NotFound, Rejected
from foundation.lazy_texts import mark


@dataclass(slots=True)
class Stock:
    """A plain copy of a product's row, because a batch reads hundreds. `is_active` and `paused_at` are as the
    driver returns them. `newly_reserved` is reserved in memory and not written yet.
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


class Line(NamedTuple):
    """A product, a quantity of it, and what that is sold for less discounts, where it is sold."""

    product_id: int
    quantity: int
    sold_amount: int = 0


Lines = Sequence[Line]


def check_sold(stock: Stocks, lines: Lines) -> None:
    """Check that each of these products is there, active and not paused.

    Raises `NotFound` `product_not_found` with `products`, those that are missing or inactive, and `Rejected`
    `product_paused` with `items`.
    """
    wanted = quantities(lines)
    if missing := [id for id in wanted if id not in stock or not stock[id].is_active]:
        text = mark("There is no product {products}.", products=", ".join(map(str, missing)))
        raise NotFound(text, code="product_not_found", products=missing)
    if paused := [id for id in wanted if stock[id].paused_at is not None]:
        raise product_paused(paused)


def check_available(stock: Stocks, lines: Lines) -> None:
    """Check that enough of each is available. Raises `Rejected` `insufficient_stock` with `items`."""
    wanted = quantities(lines)
    short = [
        {"product": id, "requested": quantity, "available": stock[id].available}
        for id, quantity in wanted.items()
        if quantity > stock[id].available
    ]
    if short:
        is_held = any(stock[item["product"]].reserved for item in short)
        raise insufficient_stock(short, Held if is_held else Rejected)


def reserve(stock: Stocks, lines: Lines) -> None:
    """Reserve checked lines in memory: `stock_levels.save` writes them."""
    for line in lines:
        stock[line.product_id].newly_reserved += line.quantity


def quantities(lines: Iterable[Line]) -> dict[int, int]:
    """The quantity of each product, in the order of the lines."""
    wanted: dict[int, int] = {}
    for line in lines:
        wanted[line.product_id] = wanted.get(line.product_id, 0) + line.quantity
    return wanted
