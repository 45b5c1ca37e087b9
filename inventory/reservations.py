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

from django.db import connection, transaction
from django.utils import timezone

from inventory.models import Product, StockMovement
from shop.errors import NotFound, Rejected

CHANGE = """
UPDATE inventory_product
SET on_hand = on_hand + CASE id{on_hand} END, reserved = reserved + CASE id{reserved} END
WHERE id IN ({ids})
"""


@dataclass(frozen=True, slots=True)
class Line:
    """So many of a product."""

    product_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to a product's stock; negative numbers take away."""

    on_hand: int
    reserved: int


def lock(product_ids: Iterable[int]) -> dict[int, Product]:
    """The products of these ids, locked until the transaction ends; ids that don't exist are absent."""
    _insist_on_transaction()
    rows = Product.objects.filter(id__in=set(product_ids)).order_by("id").select_for_update()
    return {product.id: product for product in rows}


def check(stock: Mapping[int, Product], lines: Sequence[Line]) -> None:
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
        names = ", ".join(f"{stock[item['product']].name} ({item['available']} left)" for item in short)
        raise Rejected(f"Not enough in stock: {names}.", code="insufficient_stock", items=short)


def take(stock: Mapping[int, Product], lines: Sequence[Line]) -> None:
    """Reserve all lines or none, in memory: `stock` comes from `lock`, and `save` writes it.

    Raises what `check` raises; then nothing has changed.
    """
    check(stock, lines)
    for line in lines:
        product = stock[line.product_id]
        product.reserved += line.quantity
        product.newly_reserved += line.quantity


def save(stock: Iterable[Product]) -> None:
    """Write what was taken of these products: one statement for all of them, none for those untouched."""
    taken = [product for product in stock if product.newly_reserved]
    _apply({product.id: Change(on_hand=0, reserved=product.newly_reserved) for product in taken})
    for product in taken:
        product.newly_reserved = 0


def release(lines: Sequence[Line]) -> None:
    """Give back what was reserved; a product may come more than once."""
    wanted = _quantities(lines)
    lock(wanted)
    _apply({id: Change(on_hand=0, reserved=-quantity) for id, quantity in wanted.items()})


def sell(orders: Mapping[UUID, Sequence[Line]]) -> None:
    """Turn the reserved lines of these orders into sold ones, with a movement for each."""
    wanted = _quantities(_all_lines(orders))
    stock = lock(wanted)
    _apply({id: Change(on_hand=-quantity, reserved=-quantity) for id, quantity in wanted.items()})
    _move(stock, orders, kind=StockMovement.Kind.SOLD, sign=-1, reason="")


def put_back(orders: Mapping[UUID, Sequence[Line]], reason: str) -> None:
    """Put returned lines of these orders back on the shelf, with a movement for each."""
    wanted = _quantities(_all_lines(orders))
    stock = lock(wanted)
    _apply({id: Change(on_hand=quantity, reserved=0) for id, quantity in wanted.items()})
    _move(stock, orders, kind=StockMovement.Kind.RETURNED, sign=1, reason=reason)


def _move(
    stock: Mapping[int, Product],
    orders: Mapping[UUID, Sequence[Line]],
    *,
    kind: StockMovement.Kind,
    sign: int,
    reason: str,
) -> None:
    """Append a movement for each line; `stock` is as it was before."""
    on_hand = {id: product.on_hand for id, product in stock.items()}
    now = timezone.now()
    movements = []
    for order_id, lines in orders.items():
        for line in lines:
            delta = sign * line.quantity
            on_hand[line.product_id] += delta
            movements.append(
                StockMovement(
                    product_id=line.product_id,
                    kind=kind,
                    delta=delta,
                    on_hand_after=on_hand[line.product_id],
                    order_id=order_id,
                    reason=reason,
                    at=now,
                )
            )
    StockMovement.objects.bulk_create(movements)


def _apply(changes: Mapping[int, Change]) -> None:
    """Add the changes to the locked rows in one statement; the table's constraint is the last judge."""
    _insist_on_transaction()
    if not changes:
        return
    ids = list(changes)
    cases = " WHEN %s THEN %s" * len(ids)
    statement = CHANGE.format(on_hand=cases, reserved=cases, ids=", ".join(["%s"] * len(ids)))
    parameters: list[int] = []
    for id, change in changes.items():
        parameters += id, change.on_hand
    for id, change in changes.items():
        parameters += id, change.reserved
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters + ids)


def _quantities(lines: Iterable[Line]) -> Counter[int]:
    """How many of each product, in the order in which they first come."""
    wanted: Counter[int] = Counter()
    for line in lines:
        wanted[line.product_id] += line.quantity
    return wanted


def _all_lines(orders: Mapping[UUID, Sequence[Line]]) -> list[Line]:
    return [line for lines in orders.values() for line in lines]


def _insist_on_transaction() -> None:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("Stock changes only within the order's transaction.")
