"""Whether an order's lines can be reserved: what is for sale, and what is short."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from foundation.errors import Held, NotFound, Rejected
from foundation.lazy_texts import mark
from inventory.stock import Stocks, insufficient_stock, product_paused


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
    """Reserve checked lines in memory: `reservations.save` writes them."""
    for line in lines:
        stock[line.product_id].newly_reserved += line.quantity


def quantities(lines: Iterable[Line]) -> dict[int, int]:
    """The quantity of each product, in the order of the lines."""
    wanted: dict[int, int] = {}
    for line in lines:
        wanted[line.product_id] = wanted.get(line.product_id, 0) + line.quantity
    return wanted
