"""The stock levels of products, changed by this module only: reserved, released, sold, restocked for orders.

All functions must be called inside a transaction; those for an order after the order is locked. They lock
products in the order of their ids, in one statement, so orders for the same products never deadlock.
Reservations have no table: the lines of open orders are what is reserved. Every change increments the
product's version, updates the mirror after the commit, and notes when what is available falls to the
threshold.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from uuid import UUID

from django.db import transaction

from events.feed import catalogue, recording
from foundation import clock, journal
from foundation.db import open_transaction
from foundation.db.stuck_rows import Row
from inventory import mirror, product_counts, rows
from inventory.availability import Change, Line, Lines, Stock, Stocks, is_low, is_turn, quantities
from inventory.models import Product, StockMovement

LinesOfOrders = Mapping[UUID, Sequence[Line]]


def locked_row(product_id: int) -> Row:
    """The row that is locked to reserve the product."""
    return Row(Product, product_id)


def save(stock: Stocks, *, is_locked: bool = True) -> None:
    """Write what was reserved of these products, in one statement; with `is_locked` False raises
    `transactions.ChangedMeanwhile` as `change` does.
    """
    newly_reserved = {id: product.newly_reserved for id, product in stock.items() if product.newly_reserved}
    changes = {id: Change(reserved=quantity) for id, quantity in newly_reserved.items()}
    change(stock, changes, is_locked=is_locked)
    for id in newly_reserved:
        stock[id].newly_reserved = 0


def release(lines: Lines) -> None:
    """Release what was reserved; several lines may name the same product."""
    wanted = quantities(lines)
    stock = rows.lock_stock(wanted)
    change(stock, {id: Change(reserved=-quantity) for id, quantity in wanted.items()})
    for id, quantity in wanted.items():
        reserved = stock[id].reserved
        journal.note(
            what="stock.released",
            subject=f"product {id}",
            before={"reserved": reserved + quantity},
            after={"reserved": reserved},
        )


def sell(orders: LinesOfOrders, *, at: datetime) -> None:
    """Turn the reserved lines of these orders, paid at this instant, into sold ones. Each line has a
    movement, and counts on its day.
    """
    _move_stock(orders, kind=StockMovement.Kind.SOLD, each=Change(on_hand=-1, reserved=-1), reason="")
    day = clock.day_of(at)
    counted = []
    for line in chain.from_iterable(orders.values()):
        sold = {"units_sold": line.quantity, "sold_amount": line.sold_amount}
        counted.append(product_counts.DayChange(day, line.product_id, sold))
    rows.add_to_days(counted)


def restock(orders: LinesOfOrders, reason: str) -> None:
    """Add the returned lines of these orders to what is on hand, with a movement for each line."""
    _move_stock(orders, kind=StockMovement.Kind.RETURNED, each=Change(on_hand=1), reason=reason)


def _move_stock(orders: LinesOfOrders, *, kind: StockMovement.Kind, each: Change, reason: str) -> None:
    """Change the levels by `each` for every unit, and append a movement for every line."""
    wanted = quantities(line for lines in orders.values() for line in lines)
    stock = rows.lock_stock(wanted)
    on_hand = {id: product.on_hand for id, product in stock.items()}
    change(
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
    write_movements(moved)


def lock_products(product_ids: Iterable[int]) -> dict[int, Product]:
    """The products of these ids, locked until the transaction ends; ids that don't exist are absent."""
    open_transaction.assert_inside()
    products = Product.objects.filter(id__in=set(product_ids)).order_by("id").select_for_update()
    return {product.id: product for product in products}


def change(
    stock: Mapping[int, Product | Stock], changes: Mapping[int, Change], *, is_locked: bool = True
) -> None:
    """Add to these rows, and to these copies of them; the table's constraint refuses what is impossible.

    With `is_locked` False, for `stock` from `read_stock`, raises `transactions.ChangedMeanwhile` when one of
    the rows was changed since.
    """
    open_transaction.assert_inside()
    ids = sorted(id for id, one in changes.items() if any(one))
    for start in range(0, len(ids), rows.ROWS_PER_STATEMENT):
        rows.change_levels(ids[start : start + rows.ROWS_PER_STATEMENT], stock, changes, is_locked=is_locked)
    events = []
    for id in ids:
        product = stock[id]
        added = changes[id]
        before = product.on_hand - product.reserved
        product.on_hand += added.on_hand
        product.reserved += added.reserved
        product.version += 1
        after = product.on_hand - product.reserved
        named = {"product": product.id, "sku": product.sku, "available": after}
        if is_low(before, after, product.low_stock_threshold):
            journal.note(
                what="stock.low",
                subject=f"product {product.id}",
                before={"available": before},
                after=named | {"threshold": product.low_stock_threshold},
                by=journal.SYSTEM,
            )
        if is_turn(before, after):
            kind = catalogue.RESTOCKED if after > 0 else catalogue.SOLD_OUT
            events.append(recording.event(type=kind, data=named | {"on_hand": product.on_hand}))
    recording.record_all(events)
    publish_on_commit([stock[id] for id in ids])


def publish_on_commit(products: Sequence[Product | Stock]) -> None:
    """Publish these copies to the mirror after the transaction is committed."""
    if products and mirror.is_used():
        transaction.on_commit(partial(mirror.publish, [mirror.state(product) for product in products]))


def write_movements(movements: Sequence[StockMovement]) -> None:
    """Insert these movements and note them. Must be called inside a transaction."""
    rows.insert_movements(movements)
    note_movements(movements)


def note_movements(movements: Sequence[StockMovement]) -> None:
    """Note movements in the journal; one of an order is internal: customers see the order's own events."""
    journal.note_all(map(_journal_line, movements))


def _journal_line(movement: StockMovement) -> journal.NewJournalLine:
    return journal.build_line(
        what=f"stock.{movement.kind}",
        subject=f"product {movement.product_id}",
        order_id=movement.order_id,
        before={"on_hand": movement.on_hand_after - movement.delta},
        after={"on_hand": movement.on_hand_after},
        detail=movement.reason,
        reference=f"delivery {movement.delivery_id}" if movement.delivery_id else "",
        is_internal=movement.order_id is not None,
        at=movement.at,
    )
