"""Entries of accounts in waiting rooms: joining, by batches under the sale's lock, and reading them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from accounts import accounts
from inventory import sale_terms
from sales import terms
from sales.models import Sale, SaleEntry
from sales.waiting_room import draw
from shop import clock
from shop.concurrency.batching import Batcher
from shop.db import bulk_sql, open_transaction, transactions
from shop.db.stuck_rows import Row
from shop.errors import FirstcomeError, NotFound, Rejected
from shop.lazy_texts import mark as _

Status = SaleEntry.Status
# The statuses of orders that ended unpaid: `orders.order_states.ENDED`, which this app does not import.
ENDED_UNPAID = ("payment_failed", "cancelled", "expired")
UNPAID = "awaiting_payment"


class JoinRequest(NamedTuple):
    """A request of an account to join the waiting room of a sale."""

    sale_id: int
    account_id: int


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it stands at one instant. `ahead` is how many wait before it: None before the draw.
    `admitted_until` is what it would be if a pause ended now.
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


class _Current(NamedTuple):
    """An account's current entry of a sale, and its order."""

    id: UUID
    sale_id: int
    account_id: int
    status: str
    position: int | None
    admitted_until: datetime | None
    order__status: str | None
    order__expires_at: datetime | None

    def status_at(self, sale: Sale, now: datetime) -> Status:
        return effective_status(Status(self.status), self.admitted_until, sale, now)

    def is_replaceable(self, sale: Sale, now: datetime) -> bool:
        """Whether its account may join again, at the end: it expired, or its order ended unpaid."""
        status = self.status_at(sale, now)
        if status != Status.USED:
            return status in (Status.EXPIRED, Status.OVER)
        has_lapsed = self.order__expires_at is not None and self.order__expires_at <= now
        return self.order__status in ENDED_UNPAID or (self.order__status == UNPAID and has_lapsed)


def effective_status(status: Status, admitted_until: datetime | None, sale: Sale, now: datetime) -> Status:
    """The status by the clock, which may be ahead of what is recorded. A pause stops it for admitted ones."""
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
    locked = Sale.objects.select_for_update().filter(pk__in={one.sale_id for one in requests}).order_by("pk")
    sales = {sale.pk: sale for sale in locked}
    now = clock.now()
    current = _read_current(requests)
    joining = _Joining(now)
    outcomes: list[Entry | FirstcomeError] = []
    for request in requests:
        sale = sales.get(request.sale_id)
        if sale is None:
            outcomes.append(terms.no_sale(request.sale_id))
            continue
        try:
            _require_joinable(sale, now)
            outcomes.append(joining.entry_for(request, sale, current))
        except FirstcomeError as error:
            outcomes.append(error)
    joining.write()
    return outcomes


class _Joining:
    """The new entries of a batch."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._new: list[SaleEntry] = []
        self._replaced: list[_Current] = []
        self._changed: dict[int, Sale] = {}
        self._on_hand: dict[int, int] = {}

    def entry_for(self, request: JoinRequest, sale: Sale, current: dict[tuple[int, int], _Current]) -> Entry:
        existing = current.get(request)
        if existing is not None:
            if not existing.is_replaceable(sale, self._now) or self._waits_in_vain(existing, sale):
                return _to_entry(existing, sale, self._now)
            self._replaced.append(existing)
        new = self._add(request, sale)
        current[request] = _Current(
            new.id, new.sale_id, new.account_id, new.status, new.position, None, None, None
        )
        return _to_entry(current[request], sale, self._now)

    def write(self) -> None:
        """Write the new entries, and mark those that they replace."""
        if not self._new:
            return
        if self._replaced:
            replaced = SaleEntry.objects.filter(pk__in=[one.id for one in self._replaced])
            if any(one.status == Status.ADMITTED for one in self._replaced):
                replaced.filter(status=Status.ADMITTED).update(status=Status.EXPIRED)
            replaced.update(is_current=None)
        bulk_sql.insert_objects(self._new)
        for sale in self._changed.values():
            sale.save(update_fields=["last_position", "drawn_count"])

    def _add(self, request: JoinRequest, sale: Sale) -> SaleEntry:
        if draw.is_due(sale, self._now):
            draw.close(sale, self._now)
        position = None
        if sale.drawn_at is not None:
            sale.last_position += 1
            position = sale.last_position
        else:
            sale.drawn_count += 1
        self._changed[sale.pk] = sale
        new = SaleEntry(
            sale_id=sale.pk, account_id=request.account_id, position=position, created_at=self._now
        )
        self._new.append(new)
        return new

    def _waits_in_vain(self, existing: _Current, sale: Sale) -> bool:
        """Whether the entry is over, and a new one would be too: nothing is on hand."""
        if existing.status != Status.OVER:
            return False
        if sale.pk not in self._on_hand:
            self._on_hand[sale.pk] = sale_terms.read_levels(terms.product_ids_of(sale.pk)).on_hand
        return not self._on_hand[sale.pk]


def _require_joinable(sale: Sale, now: datetime) -> None:
    if not sale.is_queued:
        raise Rejected(
            _("This sale has no waiting room: its products can be ordered without an entry."),
            code="admission_not_required",
        )
    if now >= sale.closes_at or sale.ended_at is not None:
        raise Rejected(_("The sale is over."), code="sale_closed")


def _read_current(requests: Sequence[JoinRequest]) -> dict[tuple[int, int], _Current]:
    accounts_of: dict[int, set[int]] = defaultdict(set)
    for request in requests:
        accounts_of[request.sale_id].add(request.account_id)
    current: dict[tuple[int, int], _Current] = {}
    for sale_id, account_ids in accounts_of.items():
        found = SaleEntry.objects.filter(sale_id=sale_id, account_id__in=account_ids, is_current=True)
        current |= {row[1:3]: _Current(*row) for row in found.values_list(*_Current._fields)}
    return current


def _to_entry(row: _Current, sale: Sale, now: datetime) -> Entry:
    status = row.status_at(sale, now)
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
    )


def _read(entry_ids: Sequence[UUID]) -> list[Entry | NotFound]:
    """These entries now: two statements for any number."""
    rows = SaleEntry.objects.filter(pk__in=set(entry_ids)).values_list(*_Current._fields)
    found = {row[0]: _Current(*row) for row in rows}
    sales = Sale.objects.in_bulk({row.sale_id for row in found.values()})
    now = clock.now()
    return [
        _to_entry(found[id], sales[found[id].sale_id], now) if id in found else _not_found(id)
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
    rows_of=lambda one: [Row(Sale, one.sale_id), accounts.referenced_row(one.account_id)],
)
"""Joins waiting rooms; concurrent requests share a transaction and its lock of the sale."""
READER: Batcher[UUID, Entry] = Batcher(_read, name="sale_entry_status", run=transactions.read)
"""Reads entries; concurrent reads share their statements."""
