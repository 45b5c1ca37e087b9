"""Entries of accounts in waiting rooms: what one is at an instant, and which account gets another one."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from foundation.errors import FirstcomeError, NotFound, Rejected
from foundation.lazy_texts import mark
from sales import sale_states
from sales.sale_states import EntryStatus as Status, SaleState

# The statuses of orders that ended unpaid: `orders.order_states.ENDED`, which this app does not import.
ENDED_UNPAID = ("payment_failed", "cancelled", "expired")
UNPAID = "awaiting_payment"


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

    def is_replaceable(self, sale: SaleState, now: datetime) -> bool:
        """Whether its account may join again, at the end: it expired, or its order ended unpaid."""
        status = sale.status_of_entry(self.status, self.admitted_until, now)
        return status in (Status.EXPIRED, Status.OVER) or self.order__status in ENDED_UNPAID

    def lapsed_order_id(self, now: datetime) -> UUID | None:
        """Its order, if that was not paid in time and has not been ended."""
        has_lapsed = self.order__expires_at is not None and self.order__expires_at <= now
        return self.order_id if has_lapsed and self.order__status == UNPAID else None


def decide(
    request: JoinRequest,
    sale: SaleState | None,
    current: CurrentEntry | None,
    now: datetime,
    *,
    sold_out: Collection[int],
) -> CurrentEntry | FirstcomeError | None:
    """The entry that the account keeps, or why it can't join; None for a new one at the end, which replaces
    the current one. `sold_out` are sales of which nothing is on hand.
    """
    if sale is None:
        return sale_states.no_sale(request.sale_id)
    if why := refusal(sale, now):
        return why
    if current is None or not current.is_replaceable(sale, now):
        return current
    # One that is over stays while nothing is on hand: a new one would be over too.
    return current if current.status == Status.OVER and sale.id in sold_out else None


def refusal(sale: SaleState, now: datetime) -> Rejected | None:
    """Why the sale's waiting room can't be joined."""
    if not sale.is_queued:
        detail = mark("This sale has no waiting room: its products can be ordered without an entry.")
        return Rejected(detail, code="admission_not_required")
    if now >= sale.closes_at or sale.ended_at is not None:
        return Rejected(mark("The sale is over."), code="sale_closed")
    return None


def to_entry(row: CurrentEntry, sale: SaleState, now: datetime) -> Entry:
    """The entry as it stands at this instant."""
    status = sale.status_of_entry(row.status, row.admitted_until, now)
    ahead: int | None = 0
    if status == Status.WAITING:
        ahead = None if row.position is None else max(row.position - sale.passed_position - 1, 0)
    until = row.admitted_until if status == Status.ADMITTED else None
    if until is not None and sale.paused_at is not None:
        until += max(now - sale.paused_at, timedelta(0))
    return Entry(
        row.id,
        sale.id,
        row.account_id,
        status,
        row.position,
        ahead,
        until,
        sale.opens_at,
        sale.rate_per_minute,
        row.lapsed_order_id(now),
    )


def require_owner(entry: Entry, owner_id: int | None) -> Entry:
    """The entry, if it belongs to this account; any entry with None. Raises `NotFound`."""
    if owner_id not in (None, entry.account_id):
        raise not_found(entry.id)
    return entry


def not_found(entry_id: UUID) -> NotFound:
    return NotFound(mark("There is no sale entry {entry_id}.", entry_id=entry_id))
