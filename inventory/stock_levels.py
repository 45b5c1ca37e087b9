"""The stock levels of products, locked in the order of their ids, and changed by this module only.

Every change increments the product's version, updates the mirror after the commit, and notes when what is
available falls to the threshold. Orders read stock as plain rows, because a batch reads hundreds of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from django.db import transaction

from events.feed import catalogue, recording
from foundation.db import bulk_sql, open_transaction, transactions
from foundation.db.mysql.patience import limited
from foundation.journal import journal
from inventory.mirror import mirror
from inventory.models import Product, StockMovement
from inventory.stock import COLUMNS, Stock, Stocks

READ = "SELECT {columns} FROM inventory_product WHERE id IN ({ids}) ORDER BY id{for_update}"
CHANGE = "UPDATE inventory_product SET {columns}, version = version + 1 WHERE id IN ({ids})"
COLUMN = "{name} = {name} + CASE{cases} ELSE 0 END"
# One case for all products with the same delta: the database searches a list by bisection, cases one by one.
CASE = " WHEN id IN ({ids}) THEN {delta:d}"
UNCHANGED = " AND version = {versions}"
# Where every delta differs, each row goes through the cases one by one, so the cost grows with the square.
ROWS_PER_STATEMENT = 1_000


class Change(NamedTuple):
    """What is added to a product's levels; negative numbers are subtracted."""

    on_hand: int = 0
    reserved: int = 0


def lock(product_ids: Iterable[int]) -> dict[int, Product]:
    """The products of these ids, locked until the transaction ends; ids that don't exist are absent."""
    open_transaction.assert_inside()
    products = Product.objects.filter(id__in=set(product_ids)).order_by("id").select_for_update()
    return {product.id: product for product in products}


def select_stock_for_update(product_ids: Iterable[int]) -> Stocks:
    """Lock as `lock` does, by the ORM, and return plain rows."""
    open_transaction.assert_inside()
    rows = Product.objects.select_for_update().filter(id__in=set(product_ids)).order_by("id")
    return {row[0]: Stock(*row) for row in rows.values_list(*COLUMNS)}


def lock_stock(product_ids: Iterable[int]) -> Stocks:
    """The same by SQL of its own, which takes no longer to write than the database to answer it."""
    open_transaction.assert_inside()
    return read_stock(product_ids, for_update=bulk_sql.for_update())


def read_stock(product_ids: Iterable[int], *, for_update: str = "") -> Stocks:
    """Plain rows without a lock: other transactions may change them, and `change` compares the versions."""
    ids = bulk_sql.integer_list(set(product_ids))
    if not ids:
        return {}
    statement = READ.format(columns=", ".join(COLUMNS), ids=ids, for_update=for_update)
    state = open_transaction.state
    # An earlier attempt whose COMMIT got no reply may hold the locks, and its end shows the outcome.
    if state.patience_seconds and not state.in_doubt:
        statement = limited(statement, seconds=state.patience_seconds)
    return {row[0]: Stock(*row) for row in bulk_sql.fetch(statement)}


def change(
    stock: Mapping[int, Product | Stock], changes: Mapping[int, Change], *, is_locked: bool = True
) -> None:
    """Add to these rows, and to these copies of them; the table's constraint refuses what is impossible.

    With `is_locked` False, for `stock` from `read_stock`, raises `transactions.ChangedMeanwhile` when one of
    the rows was changed since.
    """
    open_transaction.assert_inside()
    ids = sorted(id for id, one in changes.items() if any(one))
    for start in range(0, len(ids), ROWS_PER_STATEMENT):
        _update_levels(ids[start : start + ROWS_PER_STATEMENT], stock, changes, is_locked=is_locked)
    events = []
    for id in ids:
        product = stock[id]
        added = changes[id]
        before = product.on_hand - product.reserved
        product.on_hand += added.on_hand
        product.reserved += added.reserved
        product.version += 1
        after = product.on_hand - product.reserved
        threshold = product.low_stock_threshold
        named = {"product": product.id, "sku": product.sku, "available": after}
        if threshold is not None and before > threshold >= after:
            journal.note(
                what="stock.low",
                subject=f"product {product.id}",
                before={"available": before},
                after=named | {"threshold": threshold},
                by=journal.SYSTEM,
            )
        if (before > 0) != (after > 0):
            kind = catalogue.RESTOCKED if after > 0 else catalogue.SOLD_OUT
            events.append(recording.event(type=kind, data=named | {"on_hand": product.on_hand}))
    recording.record_all(events)
    publish_on_commit([stock[id] for id in ids])


def publish_on_commit(products: Sequence[Product | Stock]) -> None:
    """Publish these copies to the mirror after the transaction is committed."""
    if products and mirror.is_used():
        transaction.on_commit(partial(mirror.publish, [mirror.state(product) for product in products]))


def _update_levels(
    ids: Sequence[int],
    stock: Mapping[int, Product | Stock],
    changes: Mapping[int, Change],
    *,
    is_locked: bool,
) -> None:
    columns: list[str] = []
    for name in ("on_hand", "reserved"):
        alike: dict[int, list[int]] = defaultdict(list)
        for id in ids:
            alike[getattr(changes[id], name)].append(id)
        alike.pop(0, None)
        cases = [CASE.format(ids=bulk_sql.integer_list(some), delta=delta) for delta, some in alike.items()]
        if cases:
            columns.append(COLUMN.format(name=name, cases="".join(cases)))
    statement = CHANGE.format(columns=", ".join(columns), ids=bulk_sql.integer_list(ids))
    if is_locked:
        bulk_sql.execute_deferred(statement)
        return
    versions = bulk_sql.SqlLiterals().case("id", {id: stock[id].version for id in ids})
    statement += UNCHANGED.format(versions=versions)
    if bulk_sql.execute(statement) != len(ids):
        raise transactions.ChangedMeanwhile("Another transaction changed the stock since it was read.")


def write_movements(movements: Sequence[StockMovement]) -> None:
    """Insert these movements and note them. Must be called inside a transaction."""
    for start in range(0, len(movements), ROWS_PER_STATEMENT):
        bulk_sql.insert_objects(movements[start : start + ROWS_PER_STATEMENT])
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
