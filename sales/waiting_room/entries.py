"""Entries of accounts in waiting rooms: joining, by batches under the sale's lock, and reading them."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import F, QuerySet

from accounts import accounts
from foundation import clock
from foundation.concurrency.batching import Batcher
from foundation.db import bulk_sql, open_transaction, transactions
from foundation.db.stuck_rows import Row
from foundation.errors import FirstcomeError, NotFound, Rejected
from foundation.lazy_texts import mark as _
from inventory import sale_terms
from sales import terms
from sales.models import Sale, SaleEntry
from sales.waiting_room import draw
from sales.waiting_room.admission import WINDOW

Status = SaleEntry.Status
# The statuses of orders that ended unpaid: `orders.order_states.ENDED`, which this app does not import.
ENDED_UNPAID = ("payment_failed", "cancelled", "expired")
UNPAID = "awaiting_payment"
ORDER_ENDERS: list[Callable[[list[UUID]], bool]] = []
"""End these orders, whose time to pay is over, without waiting for locks; whether any could be ended."""


class JoinRequest(NamedTuple):
    """A request of an account to join the waiting room of a sale."""

    sale_id: int
    account_id: int


class Entry(NamedTuple):
    """An entry as it stands at one instant. `ahead` is how many wait before it: None before the draw.
    `admitted_until` is what it would be if a pause ended now. `lapsed_order_id` is its order if that was not
    paid in time and has not been ended.
    """

    id: UUID
    sale_id: int
    account_id: int
    status: Status
    position: int | None
    ahead: int | None
    admitted_until: datetime | None
    opens_at: datetime
    rate_per_minute: int
    lapsed_order_id: UUID | None = None


class CurrentEntry(NamedTuple):
    """An account's current entry of a sale, and its order."""

    id: UUID
    sale_id: int
    account_id: int
    status: str
    position: int | None
    admitted_until: datetime | None = None
    order_id: UUID | None = None
    order__status: str | None = None
    order__expires_at: datetime | None = None

    def is_replaceable(self, sale: Sale, now: datetime) -> bool:
        """Whether its account may join again, at the end: it expired, or its order ended unpaid."""
        status = effective_status(self, sale, now)
        return status in (Status.EXPIRED, Status.OVER) or self.order__status in ENDED_UNPAID

    def lapsed_order_id(self, now: datetime) -> UUID | None:
        """Its order, if that was not paid in time and has not been ended."""
        has_lapsed = self.order__expires_at is not None and self.order__expires_at <= now
        return self.order_id if has_lapsed and self.order__status == UNPAID else None


def effective_status(entry: SaleEntry | CurrentEntry, sale: Sale, now: datetime) -> Status:
    """The status by the clock, which may be ahead of what is recorded. A pause stops it for admitted ones."""
    status = Status(entry.status)
    admitted_until = entry.admitted_until
    if now >= sale.closes_at and status in (Status.WAITING, Status.ADMITTED):
        return Status.OVER
    if status == Status.ADMITTED and admitted_until is not None and admitted_until <= (sale.paused_at or now):
        return Status.EXPIRED
    return status


def _join(requests: Sequence[JoinRequest]) -> list[Entry | FirstcomeError]:
    """Each account's current entry, or a new one at the end, in the order of the requests; before the sale
    opens without a position.
    """
    open_transaction.assert_inside()
    sale_ids, account_ids = map(set, zip(*requests, strict=True))
    locked = Sale.objects.select_for_update().filter(pk__in=sale_ids).order_by("pk")
    sales = {sale.pk: sale for sale in locked}
    now = clock.now()
    found = SaleEntry.objects.filter(sale_id__in=sale_ids, account_id__in=account_ids, is_current=True)
    current = _read_current(found)
    wanted = [one.id for one in current.values() if one.is_replaceable(sales[one.sale_id], now)]
    if wanted:
        # An order may be using one: it commits before the lock is granted, or finds the entry expired.
        _lock(wanted)
        current = _read_current(found)
    on_hand = cache(lambda sale_id: sale_terms.read_levels(terms.product_ids_of(sale_id)).on_hand)
    outcomes: list[Entry | FirstcomeError] = []
    new = list[SaleEntry]()
    replaced = list[CurrentEntry]()
    for request in requests:
        sale = sales.get(request.sale_id)
        entry = current.get(request)
        if sale is None:
            outcomes.append(terms.no_sale(request.sale_id))
            continue
        if refusal := _refusal(sale, now):
            outcomes.append(refusal)
            continue
        # One that is over stays while nothing is on hand: a new one would be over too.
        if entry and entry.is_replaceable(sale, now) and (entry.status != Status.OVER or on_hand(sale.pk)):
            replaced.append(entry)
            entry = None
        if entry is None:
            new.append(_add(sale, request.account_id, now))
            entry = CurrentEntry(new[-1].id, *request, Status.WAITING, new[-1].position)
            current[request] = entry
        outcomes.append(to_entry(entry, sale, now))
    if replaced:
        _delete_lapsed(replaced, now)
        rows = SaleEntry.objects.filter(pk__in=[one.id for one in replaced])
        if any(one.status == Status.ADMITTED for one in replaced):
            rows.filter(status=Status.ADMITTED).update(status=Status.EXPIRED)
        rows.update(is_current=None, holds_place=None)
    if new:
        bulk_sql.insert_objects(new)
    for sale_id in {one.sale_id for one in new}:
        sales[sale_id].save(update_fields=["last_position", "drawn_count"])
    return outcomes


def _read_current(found: "QuerySet[SaleEntry]") -> dict[Any, CurrentEntry]:
    """These entries by their sale and account."""
    return {row[1:3]: CurrentEntry(*row) for row in found.values_list(*CurrentEntry._fields)}


def _lock(entry_ids: Sequence[UUID]) -> None:
    """Lock these entries in the order of their ids, as orders do."""
    list(SaleEntry.objects.select_for_update().filter(pk__in=entry_ids).order_by("pk").values_list("pk"))


def _delete_lapsed(replaced: Sequence[CurrentEntry], now: datetime) -> None:
    """Delete what these entries replaced before, so that an account which lets each admission lapse has a few
    rows; not what was drawn, nor what was admitted within the last minute, which the rate counts.
    """
    sale_ids, account_ids = zip(*[(one.sale_id, one.account_id) for one in replaced], strict=True)
    earlier = SaleEntry.objects.filter(sale_id__in=sale_ids, account_id__in=account_ids, is_current=None)
    lapsed = earlier.filter(status=Status.EXPIRED, admitted_at__lt=now - 2 * WINDOW)
    undrawn = lapsed.filter(position__gt=F("sale__drawn_count")).values_list("pk", flat=True)
    SaleEntry.objects.filter(pk__in=list(undrawn)).delete()


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


def _refusal(sale: Sale, now: datetime) -> Rejected | None:
    """Why the sale's waiting room can't be joined."""
    if not sale.is_queued:
        detail = _("This sale has no waiting room: its products can be ordered without an entry.")
        return Rejected(detail, code="admission_not_required")
    if now >= sale.closes_at or sale.ended_at is not None:
        return Rejected(_("The sale is over."), code="sale_closed")
    return None


def to_entry(row: CurrentEntry, sale: Sale, now: datetime) -> Entry:
    """The entry as it stands at this instant."""
    status = effective_status(row, sale, now)
    ahead: int | None = 0
    if status == Status.WAITING:
        ahead = None if row.position is None else max(row.position - sale.passed_position - 1, 0)
    until = row.admitted_until if status == Status.ADMITTED else None
    if until is not None and sale.paused_at is not None:
        until += max(now - sale.paused_at, timedelta(0))
    return Entry(
        row.id,
        sale.pk,
        row.account_id,
        status,
        row.position,
        ahead,
        until,
        sale.opens_at,
        sale.rate_per_minute,
        row.lapsed_order_id(now),
    )


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
    rows = SaleEntry.objects.filter(pk__in=set(entry_ids)).values_list(*CurrentEntry._fields)
    found = {row[0]: CurrentEntry(*row) for row in rows}
    sales = Sale.objects.in_bulk({row.sale_id for row in found.values()})
    now = clock.now()
    return [
        to_entry(found[id], sales[found[id].sale_id], now) if id in found else _not_found(id)
        for id in entry_ids
    ]


def require_owner(entry: Entry, owner_id: int | None) -> Entry:
    """The entry, if it belongs to this account; any entry with None. Raises `NotFound`."""
    if owner_id not in (None, entry.account_id):
        raise _not_found(entry.id)
    return entry


def _not_found(entry_id: UUID) -> NotFound:
    return NotFound(_("There is no sale entry {entry_id}.", entry_id=entry_id))


JOINER: Batcher[JoinRequest, Entry] = Batcher(
    _join,
    name="sale_entries",
    run=_end_lapsed_orders,
    rows_of=lambda one: [Row(Sale, one.sale_id), accounts.referenced_row(one.account_id)],
)
"""Joins waiting rooms; concurrent requests share a transaction and its lock of the sale."""
READER: Batcher[UUID, Entry] = Batcher(_read, name="sale_entry_status", run=transactions.read)
"""Reads entries; concurrent reads share their statements."""
