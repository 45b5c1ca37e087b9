"""The stock levels of products, locked in the order of their ids, and changed by this module only.

Every change increments the product's version, updates the mirror after the commit, and notes when what is
available falls to the threshold. Orders read stock as plain rows, because a batch reads hundreds of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from django.db import transaction

from events.feed import catalogue, recording
from foundation import journal
from foundation.db import open_transaction
from inventory import mirror, rows
from inventory.models import Product, StockMovement
from inventory.stock import Change, Stock, is_low, is_turn


def lock(product_ids: Iterable[int]) -> dict[int, Product]:
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
