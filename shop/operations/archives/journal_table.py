"""The journal as a table of the archives: which lines stay, names that are left out, and what L12 counts."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Q

from shop.db import bulk_sql
from shop.db.archived_months import JOURNAL
from shop.events import journal
from shop.models import ArchivedMonth, ArchivedPaidEvent, JournalLine
from shop.operations.archives.archive_tables import ArchiveTable, IsReady, Row, Sums

PAID, PAID_EVENTS = "order.paid", "paid_events"
# Lines about accounts have names and addresses, and are read for new passwords and erasures. The lines of the
# archives say what became of each file. Old exports of lists have what staff searched
# for, such as an e-mail address. The others are events that are not delivered.
CONDITION = (
    Q(delivery__in=("", JournalLine.Delivery.DELIVERED))
    & ~Q(what__startswith="account.")
    & ~Q(subject__startswith="account ")
    & ~Q(what__startswith="archive.")
    & ~Q(what__startswith="list.")
)


def build(*, kept: Collection[str], open_orders: Callable[[datetime], Collection[UUID]]) -> ArchiveTable:
    """The table. Lines of the `kept` kinds stay, and those of orders that are open at the start."""

    def prepare_filter(end: datetime) -> IsReady:
        unfinished = open_orders(end)
        return lambda row: row["order_id"] not in unfinished

    return ArchiveTable(
        name=JOURNAL,
        model=JournalLine,
        at="at",
        condition=CONDITION & ~Q(what__in=kept),
        prepare_filter=prepare_filter,
        leave_out=leave_out_name,
        complete=complete_names,
        carry=carry_paid_events,
        uncarry=uncarry_paid_events,
        stays="lines about accounts, archives and exports of lists, of open orders, of late charges, and"
        " events not delivered",
    )


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
    shared = bulk_sql.lock(shared=True) if bulk_sql.for_update() else ""
    names = dict(bulk_sql.reader(User, ("id", "username")).rows_of(sorted(ids), lock=shared))
    for row in nameless:
        row["actor_name"] = names.get(row["actor_id"], "")


def carry_paid_events(month: ArchivedMonth, rows: Sequence[Row]) -> Sums:
    """Keep which orders' delivered events are archived."""
    orders = _orders_of_paid_events(rows)
    known = set(ArchivedPaidEvent.objects.filter(pk__in=orders).values_list("pk", flat=True))
    new = [ArchivedPaidEvent(order_id=id, month=month) for id in sorted(orders - known)]
    ArchivedPaidEvent.objects.bulk_create(new)
    return {PAID_EVENTS: len(new)}


def uncarry_paid_events(month: ArchivedMonth, rows: Sequence[Row]) -> Sums:
    """Forget these orders' events: their lines are back in this transaction."""
    orders = _orders_of_paid_events(rows)
    deleted, _ = ArchivedPaidEvent.objects.filter(pk__in=orders, month=month).delete()
    return {PAID_EVENTS: deleted}


def _orders_of_paid_events(rows: Sequence[Row]) -> set[UUID]:
    delivered = JournalLine.Delivery.DELIVERED
    paid = (row for row in rows if row["what"] == PAID and row["delivery"] == delivered)
    return {row["order_id"] for row in paid if row["order_id"] is not None}
