"""A sale as its rules read it: what it is at an instant, and whether its orders need an entry."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from foundation.errors import NotFound
from foundation.lazy_texts import mark


class Status(StrEnum):
    SCHEDULED = "scheduled"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"


class EntryStatus(StrEnum):
    WAITING = "waiting"
    ADMITTED = "admitted"
    USED = "used"
    EXPIRED = "expired"
    OVER = "over"


class SaleState(NamedTuple):
    """Columns of a sale, by their names; `sales.models.Sale` says what they mean."""

    id: int
    admission: str
    opens_at: datetime
    closes_at: datetime
    paused_at: datetime | None
    ended_at: datetime | None
    rate_per_minute: int
    is_ordered: bool
    last_position: int
    passed_position: int
    last_admitted_at: datetime | None
    next_admission_at: datetime | None
    admission_clock_ahead: timedelta

    @property
    def is_queued(self) -> bool:
        """Whether an order needs an admitted entry."""
        return self.admission == "queue"

    def status_at(self, now: datetime) -> Status:
        """What the sale is at this instant."""
        if now >= self.closes_at:
            return Status.CLOSED
        if self.paused_at is not None:
            return Status.PAUSED
        return Status.OPEN if now >= self.opens_at else Status.SCHEDULED

    def status_of_entry(self, recorded: str, admitted_until: datetime | None, now: datetime) -> EntryStatus:
        """An entry's status by the clock, which may be ahead of what is recorded. A pause stops it for
        admitted ones.
        """
        status = EntryStatus(recorded)
        if now >= self.closes_at and status in (EntryStatus.WAITING, EntryStatus.ADMITTED):
            return EntryStatus.OVER
        if status == EntryStatus.ADMITTED and admitted_until and admitted_until <= (self.paused_at or now):
            return EntryStatus.EXPIRED
        return status


def no_sale(sale_id: int) -> NotFound:
    """The error of a sale that doesn't exist."""
    return NotFound(mark("There is no sale {sale_id}.", sale_id=sale_id))
