"""Importing stock in bulk: creates new products, updates existing ones and receives their quantities.

A delivery is written in chunks, each in a transaction that locks the delivery first and then the chunk's
products. Its row says how many rows are done, so a run with the same id continues there, and nothing is
received twice.
"""

import hashlib
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError
from django.db.models import QuerySet
from django.utils.translation import gettext

from foundation import clock, journal
from foundation.db import transactions
from foundation.errors import Rejected
from inventory import products, stock_levels
from inventory.availability import Change, insufficient_stock
from inventory.imports.stock_files import StockRow, invalid
from inventory.models import Delivery, Product, StockMovement

ROWS_AT_ONCE = 500
ATTEMPTS = 3
Rows = Sequence[StockRow]


KEPT = "<Keep.KEEP: 'as it is'>"
"""Stands in fingerprints, also of earlier releases, for a threshold that is not given."""


class Receipt(NamedTuple):
    """What importing one row would do. `changes` has each field before and after, and `on_hand` the stock."""

    row: StockRow
    is_new: bool
    changes: dict[str, tuple[Any, Any]]
    on_hand: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Imported:
    """How many products were created, how many changed, and how many units were received. `is_repeat` where
    the whole delivery was imported before. A preview has a receipt for each row.
    """

    created: int = 0
    changed: int = 0
    received: int = 0
    is_repeat: bool = False
    receipts: Sequence[Receipt] = field(default=(), compare=False)


def preview(rows: Rows) -> Imported:
    """What importing these rows would change now, read without locks. Raises what `receive` does."""
    known = transactions.read(lambda: _existing_products(rows))
    _refuse_rows(rows, known)
    receipts = []
    for row in rows:
        product = known.get(row.sku) or Product(sku=row.sku, **row.terms)
        changes = products.set_terms(product, row.terms)
        on_hand = (product.on_hand, product.on_hand + _delta(product, row))
        receipts.append(Receipt(row, row.sku not in known, changes, on_hand))
    return Imported(
        created=sum(receipt.is_new for receipt in receipts),
        changed=sum(bool(receipt.changes) for receipt in receipts),
        received=sum(row.quantity for row in rows if not row.is_counted),
        receipts=receipts,
    )


def summary(imported: Imported) -> str:
    """What was imported, or would be."""
    counts = {"created": imported.created, "changed": imported.changed, "units": imported.received}
    text = gettext("Products created: %(created)s, changed: %(changed)s. Units received: %(units)s.")
    return text % {name: f"{count:,}" for name, count in counts.items()}


def receive(
    rows: Rows, *, delivery_id: UUID, reason: str, on_progress: Callable[[int], None] = lambda done: None
) -> Imported:
    """Import the rows, each of another sku, and receive their quantities, or correct what is on hand to those
    that are counted, once per delivery.

    Durable chunk by chunk: run again with the same id and rows it continues. `on_progress` gets the number of
    rows done. Raises `Invalid` with `errors`, before anything is written, for rows of unknown products
    without a name or price; likewise `ApprovalRequired` for the first price that is cut too far; `Rejected`
    `delivery_id_reused` when the id was used with other rows, and `insufficient_stock` for a counted quantity
    below what open orders reserve.
    """
    if not rows:
        return Imported()
    ordered = sorted(rows, key=lambda row: row.sku)
    transactions.read(lambda: _refuse_rows(ordered, _existing_products(ordered)))
    delivery = transactions.run(partial(_begin, delivery_id, ordered, reason), transactions.KEYED)
    is_repeat = delivery.finished_at is not None
    while delivery.finished_at is None:
        delivery = _receive_next_chunk(delivery_id, ordered)
        on_progress(delivery.rows_done)
    return Imported(delivery.created, delivery.changed, delivery.received, is_repeat)


def find_same(rows: Rows) -> Delivery | None:
    """The newest delivery that has exactly these rows; None if there is none."""
    same = Delivery.objects.filter(fingerprint=_fingerprint(sorted(rows, key=lambda row: row.sku)))
    return transactions.read(same.order_by("-started_at").first)


def unfinished() -> QuerySet[Delivery]:
    """The deliveries that have started and are not finished, the oldest first; a new run finishes one."""
    return Delivery.objects.filter(finished_at__isnull=True).order_by("started_at")


def _existing_products(rows: Rows) -> dict[str, Product]:
    """The products that exist, by their skus."""
    known: dict[str, Product] = {}
    for start in range(0, len(rows), ROWS_AT_ONCE):
        skus = [row.sku for row in rows[start : start + ROWS_AT_ONCE]]
        known |= Product.objects.in_bulk(skus, field_name="sku")
    return known


def _refuse_rows(rows: Rows, known: Mapping[str, Product]) -> None:
    nameless = [row for row in rows if row.sku not in known and not {"name", "price"} <= row.terms.keys()]
    if nameless:
        detail = gettext("%(sku)s: there is no such product; a new one needs a name and a price")
        raise invalid(
            [
                {"line": row.line, "field": "sku", "code": "unknown", "detail": detail % {"sku": row.sku}}
                for row in sorted(nameless, key=lambda row: row.line)
            ]
        )
    for row in rows:
        if row.sku in known:
            products.require_approval(known[row.sku], row.terms)


def _delta(product: Product, row: StockRow) -> int:
    """By how much the row changes what is on hand. Raises `Rejected` `insufficient_stock`."""
    if not row.is_counted:
        return row.quantity
    if row.quantity < product.reserved:
        short = {"product": product.pk, "requested": product.reserved, "available": row.quantity}
        raise insufficient_stock([short])
    return row.quantity - product.on_hand


def _begin(delivery_id: UUID, rows: Rows, reason: str) -> Delivery:
    """The delivery's row, created unless it exists."""
    fingerprint = _fingerprint(rows)
    delivery, _ = Delivery.objects.get_or_create(
        id=delivery_id, defaults={"fingerprint": fingerprint, "reason": reason, "rows_total": len(rows)}
    )
    if delivery.fingerprint != fingerprint:
        raise Rejected(
            gettext("Delivery %(id)s was started with other rows; nothing was imported now.")
            % {"id": delivery_id},
            code="delivery_id_reused",
        )
    return delivery


def _fingerprint(rows: Rows) -> str:
    """Of the rows in the order of skus, without their lines."""
    texts = []
    for row in rows:
        terms = {name: repr(value) for name, value in row.terms.items()}
        threshold = terms.get("low_stock_threshold", KEPT)
        quantity = f"counted {row.quantity}" if row.is_counted else row.quantity
        texts.append(f"({row.sku!r}, {terms.get('name')}, {terms.get('price')}, {quantity}, {threshold})")
    return hashlib.sha256(f"[{', '.join(texts)}]".encode()).hexdigest()


def _receive_next_chunk(delivery_id: UUID, rows: Rows) -> Delivery:
    """Write the delivery's next chunk, as its row says under the lock, and return the delivery."""
    receive_chunk = partial(_receive_chunk, delivery_id, rows)
    for _ in range(ATTEMPTS - 1):
        # Another transaction may create one of the new products: the next attempt finds it.
        with suppress(IntegrityError):
            return transactions.run(receive_chunk, transactions.KEYED)
    return transactions.run(receive_chunk, transactions.KEYED)


def _receive_chunk(delivery_id: UUID, rows: Rows) -> Delivery:
    delivery = Delivery.objects.select_for_update().get(pk=delivery_id)
    chunk = rows[delivery.rows_done : delivery.rows_done + ROWS_AT_ONCE]
    if not chunk:
        return delivery
    known = _existing_products(chunk)
    _refuse_rows(chunk, known)
    # The rows are in the order of skus, so that two imports can't deadlock.
    Product.objects.bulk_create([Product(sku=row.sku, **row.terms) for row in chunk if row.sku not in known])
    by_sku = {row.sku: row for row in chunk}
    ids = Product.objects.filter(sku__in=by_sku).values_list("id", "sku")
    changed = _change_products({id: by_sku[sku] for id, sku in ids}, delivery, known=known)
    delivery.created += len(chunk) - len(known)
    delivery.changed += changed
    delivery.received += sum(row.quantity for row in chunk if not row.is_counted)
    delivery.rows_done += len(chunk)
    delivery.finished_at = clock.now() if delivery.rows_done == len(rows) else None
    delivery.save()
    return delivery


def _change_products(rows: Mapping[int, StockRow], delivery: Delivery, *, known: Container[str]) -> int:
    """Lock the products, apply the rows to them and move the stock. Returns how many products changed."""
    locked = stock_levels.lock_products(rows)
    applied = {id: products.set_terms(product, rows[id].terms) for id, product in locked.items()}
    changes = {id: differences for id, differences in applied.items() if differences}
    changed = [locked[id] for id in changes]
    for product in changed:
        product.version += 1
        product.updated_at = clock.now()
    Product.objects.bulk_update(changed, ["name", "price", "low_stock_threshold", "updated_at", "version"])
    stock_levels.publish_on_commit(changed)
    journal.note_all(products.created_line(one) for one in locked.values() if one.sku not in known)
    journal.note_all(products.changed_line(id, differences) for id, differences in changes.items())
    deltas = {id: delta for id, row in rows.items() if (delta := _delta(locked[id], row))}
    stock_levels.change(locked, {id: Change(on_hand=delta) for id, delta in deltas.items()})
    now = clock.now()
    stock_levels.write_movements(
        [
            StockMovement(
                product_id=id,
                kind="adjusted" if rows[id].is_counted else "received",
                delta=delta,
                on_hand_after=locked[id].on_hand,
                reason=delivery.reason,
                at=now,
                # A delivery has the units that came with it.
                delivery_id=None if rows[id].is_counted else delivery.pk,
            )
            for id, delta in deltas.items()
        ]
    )
    return len(changes)
