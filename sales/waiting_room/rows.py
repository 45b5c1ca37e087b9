"""The rows of waiting rooms: what its transactions lock and write.

- Joining (`joining`) locks its sales in the order of ids, then entries that may be replaced in the order of
  ids; it writes the draws that are due, the entries that are replaced, the new ones, and the sales.
- Advancing (`advancing`) locks the sale, and writes its draw if that is due, its entries, and the sale.
- Ordering a draw (`draw`) locks the entries whose places it writes, and nothing else.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from foundation.db import bulk_sql, transactions
from foundation.db.rows import save_changes
from sales.models import Sale, SaleEntry
from sales.waiting_room import admission
from sales.waiting_room.admission import ENDED_AT_ONCE, WINDOW, Admission
from sales.waiting_room.entries import CurrentEntry, JoinRequest

Status = SaleEntry.Status
# A statement compares each row with half of its cases on average.
ROWS_PER_STATEMENT = 250
POSITION = "UPDATE sales_saleentry SET position = {places} WHERE id IN ({ids})"


def lock_sales(sale_ids: Collection[int]) -> dict[int, Sale]:
    """Lock these sales; those that don't exist are absent."""
    locked = Sale.objects.select_for_update().filter(pk__in=sale_ids).order_by("pk")
    return {sale.pk: sale for sale in locked}


def lock_to_advance(sale_id: int, now: datetime) -> Sale | None:
    """The sale, locked, unless it has ended; None as well if another process holds it and is in time."""
    unended = Sale.objects.filter(pk=sale_id, ended_at=None)
    if sale := unended.select_for_update(skip_locked=True).first():
        return sale
    seen = unended.first()
    if seen is None or not admission.is_late(seen.state, now):
        return None
    return unended.select_for_update().first()


def read_current(requests: Collection[JoinRequest]) -> dict[Any, CurrentEntry]:
    """The current entries of the sales and accounts of these requests, by sale and account."""
    sale_ids, account_ids = map(set, zip(*requests, strict=True))
    found = SaleEntry.objects.filter(sale_id__in=sale_ids, account_id__in=account_ids, is_current=True)
    return {row[1:3]: CurrentEntry(*row) for row in found.values_list(*CurrentEntry._fields)}


def lock_entries(entry_ids: Sequence[UUID]) -> None:
    """Lock these entries in the order of their ids, as orders do."""
    list(SaleEntry.objects.select_for_update().filter(pk__in=entry_ids).order_by("pk").values_list("pk"))


def replace(replaced: Sequence[CurrentEntry], now: datetime) -> None:
    """Have these entries, which others replace, hold no place any more."""
    _delete_lapsed(replaced, now)
    rows = SaleEntry.objects.filter(pk__in=[entry.id for entry in replaced])
    if any(entry.status == Status.ADMITTED for entry in replaced):
        rows.filter(status=Status.ADMITTED).update(status=Status.EXPIRED)
    rows.update(is_current=None, holds_place=None)


def _delete_lapsed(replaced: Sequence[CurrentEntry], now: datetime) -> None:
    """Delete what these entries replaced before, so that an account which lets each admission lapse has a few
    rows; not what was drawn, nor what was admitted within the last minute, which the rate counts.
    """
    sale_ids, account_ids = zip(*[(entry.sale_id, entry.account_id) for entry in replaced], strict=True)
    earlier = SaleEntry.objects.filter(sale_id__in=sale_ids, account_id__in=account_ids, is_current=None)
    lapsed = earlier.filter(status=Status.EXPIRED, admitted_at__lt=now - 2 * WINDOW)
    undrawn = lapsed.filter(position__gt=F("sale__drawn_count")).values_list("pk", flat=True)
    SaleEntry.objects.filter(pk__in=list(undrawn)).delete()


def insert(entries: Sequence[SaleEntry], sales: Iterable[Sale]) -> None:
    """Write these new entries, and the counts of their sales."""
    bulk_sql.insert_objects(entries)
    for sale in sales:
        sale.save(update_fields=["last_position", "drawn_count"])


def find_due(now: datetime) -> "QuerySet[Sale, tuple[int]]":
    """The sales to draw or to end, with entries to admit or expire, or an admission ahead of the clock."""
    overdue = SaleEntry.objects.filter(sale=OuterRef("pk"), status=Status.ADMITTED, admitted_until__lte=now)
    is_due = Q(is_ordered=False) | Q(closes_at__lte=now) | Q(last_position__gt=F("passed_position"))
    is_due |= Exists(overdue) | Q(last_admitted_at__gt=now)
    return Sale.objects.filter(is_due, ended_at=None, opens_at__lte=now).order_by("pk").values_list("pk")


def admit(sale: Sale, decided: Admission, *, at: datetime, until: datetime) -> Sequence[UUID]:
    """Admit the entries that wait up to a place until an instant; `at` is by the sale's clock of
    admissions.
    """
    places = (sale.passed_position + 1, decided.last)
    chosen = sale.entries.filter(position__range=places, status=Status.WAITING)
    entry_ids = list(chosen.values_list("id", flat=True))
    chosen.update(
        status=Status.ADMITTED, admitted_at=at, admitted_until=until, rate_per_minute=sale.rate_per_minute
    )
    next_at = decided.next_admission_at
    save_changes(sale, passed_position=decided.last, last_admitted_at=at, next_admission_at=next_at)
    return entry_ids


def expire(sale: Sale, now: datetime) -> list[UUID]:
    """Expire entries that are admitted and whose time is over."""
    overdue = sale.entries.filter(status=Status.ADMITTED, admitted_until__lte=now)
    return _settle(overdue, Status.EXPIRED, expected=Status.ADMITTED)


def end(sale: Sale, now: datetime) -> Sequence[UUID]:
    """End what waits and what is admitted, because the sale has closed; the last chunk ends the sale."""
    left = sale.entries.filter(status__in=(Status.WAITING, Status.ADMITTED))
    ended: list[UUID] = []
    for status in (Status.WAITING, Status.ADMITTED):
        ended += _settle(left.filter(status=status), Status.OVER, expected=status)
    if not left.exists():
        save_changes(sale, passed_position=sale.last_position, ended_at=now)
    return ended


def end_waiting(sale: Sale, last: int) -> Sequence[UUID]:
    """End entries that wait up to this place, if it is beyond the passed one."""
    if last == sale.passed_position:
        return ()
    waiting = sale.entries.filter(status=Status.WAITING, position__lte=last)
    ended = _settle(waiting, Status.OVER, expected=Status.WAITING)
    save_changes(sale, passed_position=last)
    return ended


def _settle(entries: "QuerySet[SaleEntry]", status: Status, *, expected: Status) -> list[UUID]:
    """Give these entries their last status, unless an order has used one meanwhile; at most a chunk."""
    entry_ids = list(entries.order_by("position").values_list("id", flat=True)[:ENDED_AT_ONCE])
    if entry_ids:
        SaleEntry.objects.filter(pk__in=entry_ids, status=expected).update(status=status)
    return entry_ids


def write_places(places: Sequence[tuple[int, UUID]]) -> None:
    """Write these places of a draw."""
    for start in range(0, len(places), ROWS_PER_STATEMENT):
        cells = bulk_sql.SqlLiterals()
        some = {entry_id: place for place, entry_id in places[start : start + ROWS_PER_STATEMENT]}
        statement = POSITION.format(places=cells.case("id", some), ids=cells.listed(some))
        bulk_sql.execute_deferred(statement)


def read_rooms(*, opened_by: datetime) -> list[Sale]:
    """The sales with waiting rooms that open up to an instant and have not ended, in the order of ids."""
    cells = bulk_sql.SqlLiterals()
    unended = f"ended_at IS NULL AND opens_at <= {cells[opened_by]} AND admission = 'queue'"
    # Once or twice a second in each process, and mostly for nothing: the ORM would take longer.
    return transactions.read(partial(bulk_sql.reader(Sale).models, f"{unended} ORDER BY id", cells))


def read_places(sale_id: int, *, after: int, most: int) -> list[tuple[UUID, int, Any]]:
    """The first entries after a position: their ids, accounts and positions."""
    found = SaleEntry.objects.filter(sale_id=sale_id, position__gt=after).order_by("position")
    return transactions.read(partial(list, found.values_list("id", "account_id", "position")[:most]))
