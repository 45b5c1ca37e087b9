"""Importing stock in bulk: missing products are made, known ones take the file's word, goods received.

All or nothing, in one transaction. It keeps its products locked until the end, and orders for them wait:
bring large files while the shop is quiet.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db import IntegrityError

from inventory import levels, movements, product_journal
from inventory.levels import Change
from inventory.models import Product, StockMovement
from inventory.movements import MovementRow
from inventory.products import KEEP, Keep
from shop import clock, journal, transactions
from shop.errors import Invalid, Rejected

T = TypeVar("T")
LARGEST_QUANTITY = 10**9
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Row:
    """So many of a product came in. Without name and price it must exist, and keeps its own.

    `line` is where the row stands in its file, 0 for one that isn't from a file. A threshold of None is
    one: never.
    """

    line: int
    sku: str
    name: str | None
    price: int | None
    quantity: int
    low_stock_threshold: int | Keep | None = KEEP


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one row. `changes` are by field: what it was, and what it is."""

    row: Row
    product_id: int
    is_new: bool
    changes: dict[str, tuple[Any, Any]]
    on_hand_after: int


@dataclass(frozen=True, slots=True)
class Imported:
    """How many products were created, how many changed, how many units came in; and each row's receipt."""

    created: int = 0
    changed: int = 0
    received: int = 0
    receipts: Sequence[Receipt] = field(default=(), compare=False)


class _TakenBack(Exception):
    """A dry run that went well: rolls back what it did."""

    def __init__(self, imported: Imported) -> None:
        super().__init__("dry run")
        self.imported = imported


def receive(
    rows: Sequence[Row],
    *,
    reason: str,
    is_dry_run: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Imported:
    """Import the rows, whose skus differ. Quantities are added to what is on hand: every run is a delivery.

    Durable when it returns; a dry run does all of it and takes it back. `on_progress` hears how many
    rows are done. Raises `Invalid` with `errors` for rows of unknown products that lack a name or price,
    and `Rejected` `sku_exists` when somebody creates one of the products meanwhile.
    """

    def work() -> Imported:
        imported = _receive(rows, reason, on_progress)
        if is_dry_run:
            raise _TakenBack(imported)
        return imported

    try:
        return transactions.run(work)
    except _TakenBack as rehearsal:
        return rehearsal.imported
    except IntegrityError as error:
        raise Rejected(
            "Somebody created one of these products meanwhile; nothing was imported. Run it again.",
            code="sku_exists",
        ) from error


def _receive(rows: Sequence[Row], reason: str, on_progress: Callable[[int], None]) -> Imported:
    new = _new(rows, _ids([row.sku for row in rows]))
    _create(new)
    ids = _ids([row.sku for row in rows])
    made = {row.sku for row in new}
    receipts: list[Receipt] = []
    # In the order of ids, over all the chunks: the lock order of everything that touches stock.
    for chunk in _chunks(sorted(rows, key=lambda row: ids[row.sku])):
        receipts += _receive_chunk({ids[row.sku]: row for row in chunk}, made, reason)
        on_progress(len(receipts))
    return Imported(
        created=len(new),
        changed=sum(bool(receipt.changes) for receipt in receipts),
        received=sum(row.quantity for row in rows),
        receipts=sorted(receipts, key=lambda receipt: receipt.row.line),
    )


def _ids(skus: Sequence[str]) -> dict[str, int]:
    """The ids of the products that exist."""
    return {
        sku: id
        for chunk in _chunks(skus)
        for sku, id in Product.objects.filter(sku__in=chunk).values_list("sku", "id")
    }


def _new(rows: Sequence[Row], known: Mapping[str, int]) -> list[Row]:
    """The rows whose products must be made, in the order of skus, so that two imports can't deadlock."""
    new = sorted((row for row in rows if row.sku not in known), key=lambda row: row.sku)
    nameless = [row for row in new if row.name is None or row.price is None]
    if nameless:
        detail = "there is no such product; a new one needs a name and a price"
        raise Invalid(
            "Nothing was imported; put these right first.",
            errors=[
                {"line": row.line, "field": "sku", "code": "unknown", "detail": f"{row.sku}: {detail}"}
                for row in nameless
            ],
        )
    return new


def _create(rows: Sequence[Row]) -> None:
    Product.objects.bulk_create(map(_product, rows), batch_size=ROWS_AT_ONCE)


def _product(row: Row) -> Product:
    assert row.name is not None and row.price is not None
    threshold = None if row.low_stock_threshold is KEEP else row.low_stock_threshold
    return Product(sku=row.sku, name=row.name, price=row.price, low_stock_threshold=threshold)


def _receive_chunk(rows: Mapping[int, Row], made: Collection[str], reason: str) -> list[Receipt]:
    """Lock the products, change what the rows say otherwise, add the quantities."""
    products = levels.lock(rows)
    changes = {id: _take_over(product, rows[id]) for id, product in products.items()}
    _save([products[id] for id, differences in changes.items() if differences])
    new = [id for id, row in rows.items() if row.sku in made]
    journal.note_all(product_journal.created(products[id]) for id in new)
    journal.note_all(
        product_journal.changed(id, differences) for id, differences in changes.items() if differences
    )
    arrived = {id: row.quantity for id, row in rows.items() if row.quantity}
    levels.change(products, {id: Change(on_hand=quantity) for id, quantity in arrived.items()})
    now = clock.now()
    movements.write(
        [
            MovementRow(
                id,
                StockMovement.Kind.RECEIVED.value,
                quantity,
                on_hand_after=products[id].on_hand,
                order_id=None,
                reason=reason,
                at=now,
            )
            for id, quantity in arrived.items()
        ]
    )
    return [Receipt(row, id, row.sku in made, changes[id], products[id].on_hand) for id, row in rows.items()]


def _take_over(product: Product, row: Row) -> dict[str, tuple[Any, Any]]:
    """Give the product what the row says, and tell what that changed."""
    said = {"name": row.name, "price": row.price}
    given: dict[str, Any] = {field: value for field, value in said.items() if value is not None}
    if row.low_stock_threshold is not KEEP:
        given["low_stock_threshold"] = row.low_stock_threshold
    changes = {}
    for name, value in given.items():
        before = getattr(product, name)
        if before != value:
            setattr(product, name, value)
            changes[name] = (before, value)
    return changes


def _save(changed: Sequence[Product]) -> None:
    """Write what was taken over, as `products.change` would."""
    for product in changed:
        product.version += 1
    Product.objects.bulk_update(changed, ["name", "price", "low_stock_threshold", "version"])
    levels.publish_once_committed(changed)


def _chunks(things: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), ROWS_AT_ONCE):
        yield things[start : start + ROWS_AT_ONCE]
