"""The stock levels of products, locked and changed: in the order of product ids, in one statement."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from django.db import connection, transaction

from inventory.models import Product

CHANGE = "UPDATE inventory_product SET {columns} WHERE id IN ({ids})"
COLUMN = "{name} = {name} + CASE id{cases} END"
# Each row looks through the cases one by one: far more of them would cost their square.
ROWS_PER_STATEMENT = 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to a product's stock; negative numbers take away."""

    on_hand: int = 0
    reserved: int = 0


def lock(product_ids: Iterable[int]) -> dict[int, Product]:
    """The products of these ids, locked until the transaction ends; ids that don't exist are absent."""
    insist_on_transaction()
    rows = Product.objects.filter(id__in=set(product_ids)).order_by("id").select_for_update()
    return {product.id: product for product in rows}


def change(changes: Mapping[int, Change]) -> None:
    """Add to the locked rows; the table's constraint is the last judge of what they become."""
    insist_on_transaction()
    ids = list(changes)
    for start in range(0, len(ids), ROWS_PER_STATEMENT):
        _change(ids[start : start + ROWS_PER_STATEMENT], changes)


def _change(ids: Sequence[int], changes: Mapping[int, Change]) -> None:
    cases = " WHEN %s THEN %s" * len(ids)
    columns: list[str] = []
    parameters: list[int] = []
    for name in ("on_hand", "reserved"):
        deltas = [(id, getattr(changes[id], name)) for id in ids]
        if any(delta for _, delta in deltas):
            columns.append(COLUMN.format(name=name, cases=cases))
            parameters += chain.from_iterable(deltas)
    if columns:
        statement = CHANGE.format(columns=", ".join(columns), ids=", ".join(["%s"] * len(ids)))
        with connection.cursor() as cursor:
            cursor.execute(statement, [*parameters, *ids])


def insist_on_transaction() -> None:
    """Raise unless the caller has opened a transaction: stock never changes by itself."""
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("Stock changes only inside the caller's transaction.")
