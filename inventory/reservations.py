"""Reserving stock: what open orders hold of it, given back or sold; and no more than there is.

These are the parts that an order's transaction is made of: none opens its own, each insists on being in
one. All take their locks in the order of product ids, in one statement, so that orders over the same
products wait for each other and never deadlock. Lock the order before its stock.

What is reserved has no table of its own: it is the lines of the orders that are open.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from inventory import stock_levels
from inventory.models import Product, StockMovement
from inventory.stock import Stock
from inventory.stock_levels import Change, MovementRow
from shop import clock
from shop.db.stuck_rows import Row
from shop.errors import NotFound, Rejected
from shop.events import journal


@dataclass(frozen=True, slots=True)
class Line:
    """So many of a product."""

    product_id: int
    quantity: int


def lock(product_ids: Iterable[int]) -> dict[int, Stock]:
    """The products of these ids, locked until the transaction ends; ids that don't exist are absent."""
    return stock_levels.lock_stock(product_ids)


def read(product_ids: Iterable[int]) -> dict[int, Stock]:
    """The same without a lock: `save` finds out whether somebody changed them meanwhile."""
    return stock_levels.read_stock(product_ids)


def locked_row(product_id: int) -> Row:
    """The row that reserving the product locks."""
    return Row(Product, product_id)


def check(stock: Mapping[int, Stock], lines: Sequence[Line]) -> None:
    """Whether `take` would succeed.

    Raises `NotFound` `product_not_found` with `products`, the ids that are missing or inactive, and
    `Rejected` `insufficient_stock` with `items`, one for each product that is short.
    """
    wanted = _quantities(lines)
    missing = [id for id in wanted if id not in stock or not stock[id].is_active]
    if missing:
        names = ", ".join(map(str, missing))
        raise NotFound(f"There is no product {names}.", code="product_not_found", products=missing)
    short = [
        {"product": id, "requested": quantity, "available": stock[id].available}
        for id, quantity in wanted.items()
        if quantity > stock[id].available
    ]
    if short:
        raise insufficient(short)


def insufficient(short: Sequence[dict[str, int]]) -> Rejected:
    """The refusal of lines that are short: `{product, requested, available}` for each."""
    names = ", ".join(f"product {item['product']} ({item['available']} left)" for item in short)
    return Rejected(f"Not enough in stock: {names}.", code="insufficient_stock", items=short)


def reserve(stock: Mapping[int, Stock], lines: Sequence[Line]) -> None:
    """Reserve all lines or none, in memory: `stock` comes from `lock` or `look`, and `save` writes it.

    Raises what `check` raises; then nothing has changed.
    """
    check(stock, lines)
    reserve_checked(stock, lines)


def reserve_checked(stock: Mapping[int, Stock], lines: Sequence[Line]) -> None:
    """The same for lines that `check` has just let pass."""
    for line in lines:
        stock[line.product_id].newly_reserved += line.quantity


def save(stock: Mapping[int, Stock], *, is_locked: bool = True) -> None:
    """Write what was taken of these products: one statement for all of them, none for those untouched.

    With `is_locked` False, for stock from `look`, raises `transactions.ChangedMeanwhile` when one of them
    was changed since.
    """
    taken = {id: product.newly_reserved for id, product in stock.items() if product.newly_reserved}
    changes = {id: Change(reserved=quantity) for id, quantity in taken.items()}
    stock_levels.change(stock, changes, is_locked=is_locked)
    for id in taken:
        stock[id].newly_reserved = 0


def release(lines: Sequence[Line]) -> None:
    """Give back what was reserved; a product may come more than once."""
    wanted = _quantities(lines)
    stock = lock(wanted)
    stock_levels.change(stock, {id: Change(reserved=-quantity) for id, quantity in wanted.items()})
    for id, quantity in wanted.items():
        reserved = stock[id].reserved
        journal.note(
            what="stock.released",
            subject=f"product {id}",
            before={"reserved": reserved + quantity},
            after={"reserved": reserved},
        )


def sell(orders: Mapping[UUID, Sequence[Line]]) -> None:
    """Turn the reserved lines of these orders into sold ones, with a movement for each."""
    _move_stock(orders, kind=StockMovement.Kind.SOLD, each=Change(on_hand=-1, reserved=-1), reason="")


def restock(orders: Mapping[UUID, Sequence[Line]], reason: str) -> None:
    """Put returned lines of these orders back on the shelf, with a movement for each."""
    _move_stock(orders, kind=StockMovement.Kind.RETURNED, each=Change(on_hand=1), reason=reason)


def _move_stock(
    orders: Mapping[UUID, Sequence[Line]], *, kind: StockMovement.Kind, each: Change, reason: str
) -> None:
    """Change the levels by `each` for every single unit, and append a movement for every line."""
    wanted = _quantities(line for lines in orders.values() for line in lines)
    stock = lock(wanted)
    on_hand = {id: product.on_hand for id, product in stock.items()}
    stock_levels.change(
        stock,
        {id: Change(each.on_hand * quantity, each.reserved * quantity) for id, quantity in wanted.items()},
    )
    now = clock.now()
    moved = []
    for order_id, lines in orders.items():
        for line in lines:
            delta = each.on_hand * line.quantity
            on_hand[line.product_id] += delta
            moved.append(
                MovementRow(
                    line.product_id,
                    kind.value,
                    delta,
                    on_hand_after=on_hand[line.product_id],
                    order_id=order_id,
                    reason=reason,
                    at=now,
                )
            )
    stock_levels.write_movements(moved)


def _quantities(lines: Iterable[Line]) -> Counter[int]:
    """How many of each product, in the order in which they first come."""
    wanted: Counter[int] = Counter()
    for line in lines:
        wanted[line.product_id] += line.quantity
    return wanted
