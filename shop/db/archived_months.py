"""Which months of a table are in files, for readers who would otherwise silently show less."""

from datetime import UTC, datetime
from uuid import UUID

from shop.models import ArchivedMonth, ArchivedPaidEvent

JOURNAL, MOVEMENTS, TICKETS = "journal", "movements", "tickets"
PAID_EVENTS = "paid_events"
"""Of a month of the journal: how many orders' delivered events `order.paid` it has."""


def read_since(table: str, at: datetime, *, until: datetime | None = None) -> list[ArchivedMonth]:
    """The archived months of the table, oldest first, that may have rows of these instants."""
    months = ArchivedMonth.objects.filter(table=table, month__gte=f"{at.astimezone(UTC):%Y-%m}")
    if until is not None:
        months = months.filter(month__lte=f"{until.astimezone(UTC):%Y-%m}")
    return list(months.order_by("month", "part"))


def month_of_paid_event(order_id: UUID) -> ArchivedMonth | None:
    """The month in whose file the order's event `order.paid` is."""
    found = ArchivedPaidEvent.objects.filter(pk=order_id).select_related("month").first()
    return found.month if found else None
