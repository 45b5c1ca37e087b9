"""Queue tickets as a table of the archives: those of closed campaigns, but the last number of each."""

from datetime import datetime

from django.db.models import Max, Q

from coupons.models import Campaign, QueueTicket
from shop.db.archived_months import TICKETS
from shop.operations.archives.archive_tables import ArchiveTable, IsReady, Row


def _of_closed_campaigns(end: datetime) -> IsReady:
    """Tickets of campaigns that closed by then. The greatest number stays: the next one follows it."""
    closed = Campaign.objects.filter(closes_at__lte=end).annotate(last=Max("tickets__number"))
    last_numbers = dict(closed.filter(last__isnull=False).values_list("pk", "last"))

    def is_ready(row: Row) -> bool:
        last = last_numbers.get(row["campaign_id"])
        return last is not None and row["number"] < last

    return is_ready


TABLE = ArchiveTable(
    name=TICKETS,
    model=QueueTicket,
    at="created_at",
    condition=Q(status__in=("issued", "sold_out", "failed")),
    prepare_filter=_of_closed_campaigns,
    stays="waiting tickets, those of campaigns that had not closed by the month's end, and the last number",
)
