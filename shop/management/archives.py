"""The tables whose months are archived, with the rows that stay and what the laws need of those that go."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q

from coupons.models import QueueTicket
from events.webhooks import deliveries
from inventory import movement_archive
from orders.models import Order
from orders.order_states import OPEN
from payments.reconciliation import reconciling
from shop.db import archived_months, bulk_sql
from shop.journal import journal
from shop.models import ArchivedMonth, ArchivedPaidEvent, JournalLine
from shop.operations.archives.archive_tables import ArchiveTable, Row, Sums

PAID = "order.paid"
# Lines about accounts have names and addresses, and are read for new passwords and erasures. The lines of the
# archives say what became of each file. Old exports of lists have what staff searched for, such as an e-mail
# address. The others are events that are not delivered.
CONDITION = (
    ~deliveries.undelivered(OuterRef("event_id"))
    & ~Q(what__startswith="account.")
    & ~Q(subject__startswith="account ")
    & ~Q(what__startswith="archive.")
    & ~Q(what__startswith="list.")
    & ~Q(what__in=(reconciling.LATE, reconciling.LATE_REFUNDED))
)


def _of_finished_orders(end: datetime) -> Q:
    """Lines of other orders than those of before the instant that are open now."""
    open_orders = Order.objects.filter(status__in=(*OPEN, Order.Status.REFUNDING), placed_at__lt=end)
    return CONDITION & Q(~Exists(open_orders.filter(pk=OuterRef("order_id"))))


def leave_out_name(row: Row) -> None:
    """Leave the name of an account's line to the account, whose number the line has: NULL in the file.

    The number of an API key stays: it is no name of a person.
    """
    name = row["actor_name"]
    if row["actor_id"] is not None and name and not name.startswith(journal.KEY_NAME):
        row["actor_name"] = None


def complete_names(rows: Sequence[Row]) -> None:
    """Give the rows the names that their accounts have now: of an erased account, its pseudonym.

    The accounts are locked until the transaction ends, so an erasure comes before it, or finds these lines.
    """
    nameless = [row for row in rows if row["actor_name"] is None]
    ids = {row["actor_id"] for row in nameless}
    shared = bulk_sql.for_update(shared=True)
    names = dict(bulk_sql.reader(User, ("id", "username")).rows_of(sorted(ids), lock=shared))
    for row in nameless:
        row["actor_name"] = names.get(row["actor_id"], "")


def carry_paid_events(month: ArchivedMonth, rows: Sequence[Row]) -> Sums:
    """Keep which orders' delivered events are archived."""
    orders = _orders_of_paid_events(rows)
    known = set(ArchivedPaidEvent.objects.filter(pk__in=orders).values_list("pk", flat=True))
    new = [ArchivedPaidEvent(order_id=id, month=month) for id in sorted(orders - known)]
    ArchivedPaidEvent.objects.bulk_create(new)
    return {archived_months.PAID_EVENTS: len(new)}


def uncarry_paid_events(month: ArchivedMonth, rows: Sequence[Row]) -> Sums:
    """Forget these orders' events: their lines are back in this transaction."""
    deleted, _ = ArchivedPaidEvent.objects.filter(pk__in=_orders_of_paid_events(rows), month=month).delete()
    return {archived_months.PAID_EVENTS: deleted}


def _orders_of_paid_events(rows: Sequence[Row]) -> set[UUID]:
    paid = (row for row in rows if row["what"] == PAID)
    return {row["order_id"] for row in paid if row["order_id"] is not None}


JOURNAL = ArchiveTable(
    name=archived_months.JOURNAL,
    model=JournalLine,
    at="at",
    condition=_of_finished_orders,
    leave_out=leave_out_name,
    complete=complete_names,
    carry=carry_paid_events,
    uncarry=uncarry_paid_events,
    stays="lines about accounts, archives and exports of lists, of open orders, of late charges, and"
    " events not delivered",
)


def _of_closed_campaigns(end: datetime) -> Q:
    """Tickets of campaigns that closed by then. The greatest number stays: the next one follows it."""
    later = QueueTicket.objects.filter(campaign=OuterRef("campaign"), number__gt=OuterRef("number"))
    ended = Q(status__in=("issued", "sold_out", "failed"), campaign__closes_at__lte=end)
    return ended & Q(Exists(later))


TICKETS = ArchiveTable(
    name=archived_months.TICKETS,
    model=QueueTicket,
    at="created_at",
    condition=_of_closed_campaigns,
    stays="waiting tickets, those of campaigns that had not closed by the month's end, and the last number",
)
TABLES: Mapping[str, ArchiveTable] = {
    table.name: table for table in (JOURNAL, movement_archive.TABLE, TICKETS)
}
# Of the tables that are asked for by these names, a finished month has no rows, or they are needed.
WITHOUT_MONTHS: Mapping[str, str] = {
    "keys": "the sweep deletes an idempotency key IDEMPOTENCY_RETENTION_SECONDS after its call, once what it"
    " started has ended: a finished month has none but those of work that is still open",
    "tokens": "the sweep deletes a used refresh token once it has expired, 14 days after its issue",
    "marks": "the sweep deletes the mark of a transaction after a day",
    "sign_outs": "it has one row for each account, which refuses the tokens of before: none may go",
}
