"""Reserving stock for orders, releasing and selling what is reserved, and restocking what is returned.

All must be called inside the order's transaction, after the order is locked, and lock products in the order
of their ids, in one statement, so that orders for the same products never deadlock. Reservations have no
table: the lines of open orders are what is reserved.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from uuid import UUID

from foundation import clock, journal
from foundation.db.stuck_rows import Row
from inventory import product_days, rows, stock_levels
from inventory.models import Product, StockMovement
from inventory.stock import Change, Stocks
from inventory.stock_checks import Line, Lines, quantities

LinesOfOrders = Mapping[UUID, Sequence[Line]]
lock = rows.lock_stock
read = rows.read_stock


def locked_row(product_id: int) -> Row:
    """The row that is locked to reserve the product."""
    return Row(Product, product_id)


def save(stock: Stocks, *, is_locked: bool = True) -> None:
    """Write what was reserved of these products, in one statement; with `is_locked` False raises
    `transactions.ChangedMeanwhile` as `stock_levels.change` does.
    """
    newly_reserved = {id: product.newly_reserved for id, product in stock.items() if product.newly_reserved}
    changes = {id: Change(reserved=quantity) for id, quantity in newly_reserved.items()}
    stock_levels.change(stock, changes, is_locked=is_locked)
    for id in newly_reserved:
        stock[id].newly_reserved = 0


def release(lines: Lines) -> None:
    """Release what was reserved; several lines may name the same product."""
    wanted = quantities(lines)
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


def sell(orders: LinesOfOrders, *, at: datetime) -> None:
    """Turn the reserved lines of these orders, paid at this instant, into sold ones, with a movement for each
    line, and count them on their day.
    """
    _move_stock(orders, kind=StockMovement.Kind.SOLD, each=Change(on_hand=-1, reserved=-1), reason="")
    day = clock.day_of(at)
    changes = []
    for line in chain.from_iterable(orders.values()):
        sold = {"units_sold": line.quantity, "sold_amount": line.sold_amount}
        changes.append(product_days.Change(day, line.product_id, sold))
    product_days.add(changes)


def restock(orders: LinesOfOrders, reason: str) -> None:
    """Add the returned lines of these orders to what is on hand, with a movement for each line."""
    _move_stock(orders, kind=StockMovement.Kind.RETURNED, each=Change(on_hand=1), reason=reason)


def _move_stock(orders: LinesOfOrders, *, kind: StockMovement.Kind, each: Change, reason: str) -> None:
    """Change the levels by `each` for every unit, and append a movement for every line."""
    wanted = quantities(line for lines in orders.values() for line in lines)
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
    stock_levels.write_movements(moved)
