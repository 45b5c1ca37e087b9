"""The tables whose months are archived, put together from all apps, and why others are not."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from coupons.queue import ticket_archive
from inventory import movement_archive
from orders.models import Order
from orders.order_states import OPEN
from payments.reconciliation import orphans
from shop.operations.archives import journal_table
from shop.operations.archives.archive_tables import ArchiveTable


def _open_orders(end: datetime) -> Collection[UUID]:
    """The orders of before the instant that are not finished: seconds old ones are not among them."""
    statuses = (*OPEN, Order.Status.REFUNDING)
    return set(Order.objects.filter(status__in=statuses, placed_at__lt=end).values_list("pk", flat=True))


JOURNAL = journal_table.build(kept=(orphans.LATE, orphans.LATE_REFUNDED), open_orders=_open_orders)
TABLES: Mapping[str, ArchiveTable] = {
    table.name: table for table in (JOURNAL, movement_archive.TABLE, ticket_archive.TABLE)
}
# Of the tables that are asked for by these names, a finished month has no rows, or they are needed.
WITHOUT_MONTHS: Mapping[str, str] = {
    "keys": "the sweep deletes an idempotency key IDEMPOTENCY_RETENTION_SECONDS after its call, once what it"
    " started has ended: a finished month has none but those of work that is still open",
    "tokens": "the sweep deletes a used refresh token once it has expired, 14 days after its issue",
    "marks": "the sweep deletes the mark of a transaction after a day",
    "sign_outs": "it has one row for each account, which refuses the tokens of before: none may go",
}
