"""The stock levels of products, locked and changed: in the order of product ids, in one statement.

Every change counts the product's version up, tells the mirror once it is committed, and notes when
what is available falls to the product's threshold. There is no other way to change a level.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from django.db import connection, transaction

from inventory import mirror
from inventory.models import Product
from shop import journal, transactions

CHANGE = "UPDATE inventory_product SET {columns}, version = version + 1 WHERE id IN ({ids})"
COLUMN = "{name} = {name} + CASE id{cases} END"
UNCHANGED = " AND version = CASE id{cases} END"
# Each row looks through the cases one by one: far more of them would cost their square.
ROWS_PER_STATEMENT = 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to a product's stock; negative numbers take away."""

    on_hand: int = 0
    reserved: int = 0


def lock(product_ids: Iterable[int]) -> dict[int, Product]:
    """The products of these ids, locked until the transaction ends; ids that don't exist are absent."""
    transactions.assert_inside()
    rows = Product.objects.filter(id__in=set(product_ids)).order_by("id").select_for_update()
    return {product.id: product for product in rows}


def look(product_ids: Iterable[int]) -> dict[int, Product]:
    """The same without a lock: others may change them, and `change` has to look whether they did."""
    return {product.id: product for product in Product.objects.filter(id__in=set(product_ids))}


def change(stock: Mapping[int, Product], changes: Mapping[int, Change], *, is_locked: bool = True) -> None:
    """Add to these rows, and to these copies of them; the table's constraint is the last judge.

    `stock` comes from `lock`, or with `is_locked` False from `look`: then raises
    `transactions.ChangedMeanwhile` when one of the rows is not as it was read.
    """
    transactions.assert_inside()
    ids = sorted(id for id, one in changes.items() if one != Change())
    for start in range(0, len(ids), ROWS_PER_STATEMENT):
        _write(ids[start : start + ROWS_PER_STATEMENT], stock, changes, is_locked=is_locked)
    for id in ids:
        _follow(stock[id], changes[id])
    publish_once_committed([stock[id] for id in ids])


def publish_once_committed(products: Sequence[Product]) -> None:
    """Have the mirror show these products, as they are here, when the transaction is committed."""
    if products and mirror.is_used():
        states = [mirror.state(product) for product in products]
        transaction.on_commit(partial(mirror.publish, states))


def _write(
    ids: Sequence[int], stock: Mapping[int, Product], changes: Mapping[int, Change], *, is_locked: bool
) -> None:
    cases = " WHEN %s THEN %s" * len(ids)
    columns: list[str] = []
    parameters: list[int] = []
    for name in ("on_hand", "reserved"):
        deltas = [(id, getattr(changes[id], name)) for id in ids]
        if any(delta for _, delta in deltas):
            columns.append(COLUMN.format(name=name, cases=cases))
            parameters += chain.from_iterable(deltas)
    statement = CHANGE.format(columns=", ".join(columns), ids=", ".join(["%s"] * len(ids)))
    parameters += ids
    if not is_locked:
        statement += UNCHANGED.format(cases=cases)
        parameters += chain.from_iterable((id, stock[id].version) for id in ids)
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        if not is_locked and cursor.rowcount != len(ids):
            raise transactions.ChangedMeanwhile("Somebody else changed the stock since it was read.")


def _follow(product: Product, change: Change) -> None:
    """Keep the copy in step with its row, and note when the change made the product scarce."""
    before = product.on_hand - product.reserved
    product.on_hand += change.on_hand
    product.reserved += change.reserved
    product.version += 1
    after, threshold = product.on_hand - product.reserved, product.low_stock_threshold
    if threshold is not None and before > threshold >= after:
        journal.note(
            what="stock.low",
            subject=f"product {product.id}",
            before={"available": before},
            after={"product": product.id, "sku": product.sku, "available": after, "threshold": threshold},
            is_outgoing=True,
            by=journal.SYSTEM,
        )
