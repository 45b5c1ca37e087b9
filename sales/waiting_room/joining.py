"""Joining waiting rooms, by batches under the sale's lock, and reading their entries."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from accounts import accounts
from foundation import clock
from foundation.concurrency.batching import Batcher
from foundation.db import open_transaction, transactions
from foundation.db.stuck_rows import Row
from foundation.errors import FirstcomeError, NotFound
from inventory import sale_terms
from sales import terms
from sales.models import Sale, SaleEntry
from sales.waiting_room import draw, entries, rows
from sales.waiting_room.entries import CurrentEntry, Entry, JoinRequest, Status

ORDER_ENDERS: list[Callable[[list[UUID]], bool]] = []
"""End these orders, whose time to pay is over, without waiting for locks; whether any could be ended."""


def _join(requests: Sequence[JoinRequest]) -> list[Entry | FirstcomeError]:
    """Each account's current entry, or a new one at the end, in the order of the requests; before the sale
    opens without a position.
    """
    open_transaction.assert_inside()
    locked = rows.lock_sales({request.sale_id for request in requests})
    sales = {id: sale.state for id, sale in locked.items()}
    now = clock.now()
    current = rows.read_current(requests)
    replaceable = [entry.id for entry in current.values() if entry.is_replaceable(sales[entry.sale_id], now)]
    if replaceable:
        # An order may be using one: it commits before the lock is granted, or finds the entry expired.
        rows.lock_entries(replaceable)
        current = rows.read_current(requests)
    over = {
        entry.sale_id
        for entry in map(current.get, requests)
        if entry and entry.status == Status.OVER and not entries.refusal(sales[entry.sale_id], now)
    }
    sold_out = {id for id in over if not sale_terms.read_levels(terms.product_ids_of(id)).on_hand}
    outcomes = dict[JoinRequest, Entry | FirstcomeError]()
    new = dict[JoinRequest, SaleEntry]()
    for request in dict.fromkeys(requests):
        sale = sales.get(request.sale_id)
        kept = entries.decide(request, sale, current.get(request), now, sold_out=sold_out)
        if isinstance(kept, FirstcomeError):
            outcomes[request] = kept
            continue
        if kept is None:
            added = new[request] = _add(locked[request.sale_id], request.account_id, now)
            kept = CurrentEntry(added.id, *request, Status.WAITING, added.position)
        outcomes[request] = entries.to_entry(kept, sales[request.sale_id], now)
    if replaced := [current[request] for request in new if request in current]:
        rows.replace(replaced, now)
    if new:
        rows.insert([*new.values()], [locked[id] for id in {request.sale_id for request in new}])
    return [outcomes[request] for request in requests]


def _add(sale: Sale, account_id: int, now: datetime) -> SaleEntry:
    """A new entry of the locked sale, which counts it; neither is written yet."""
    if draw.is_due(sale, now):
        draw.close(sale, now)
    if sale.drawn_at is None:
        sale.drawn_count += 1
    else:
        sale.last_position += 1
    position = sale.last_position if sale.drawn_at else None
    return SaleEntry(sale_id=sale.pk, account_id=account_id, position=position, created_at=now)


def _end_lapsed_orders(join: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """Join in a transaction; where an order that has lapsed holds the place, end it and join again, unless
    others have it locked.
    """
    outcomes = transactions.run_batch(join)
    lapsed = [one.lapsed_order_id for one in outcomes if isinstance(one, Entry) and one.lapsed_order_id]
    ended = [end(lapsed) for end in ORDER_ENDERS] if lapsed else []
    if any(ended):
        return transactions.run_batch(join)
    return outcomes


def _read(entry_ids: Sequence[UUID]) -> list[Entry | NotFound]:
    """These entries now: two statements for any number."""
    entries_now = SaleEntry.objects.filter(pk__in=set(entry_ids)).values_list(*CurrentEntry._fields)
    found = {row[0]: CurrentEntry(*row) for row in entries_now}
    sales = Sale.objects.in_bulk({row.sale_id for row in found.values()})
    now = clock.now()
    return [
        entries.to_entry(row, sales[row.sale_id].state, now)
        if (row := found.get(id))
        else entries.not_found(id)
        for id in entry_ids
    ]


JOINER: Batcher[JoinRequest, Entry] = Batcher(
    _join,
    name="sale_entries",
    run=_end_lapsed_orders,
    rows_of=lambda one: [Row(Sale, one.sale_id), accounts.referenced_row(one.account_id)],
)
"""Joins waiting rooms; concurrent requests share a transaction and its lock of the sale."""
READER: Batcher[UUID, Entry] = Batcher(_read, name="sale_entry_status", run=transactions.read)
"""Reads entries; concurrent reads share their statements."""
