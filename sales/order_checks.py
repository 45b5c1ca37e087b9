"""What an order needs of the sales of its products: for `orders.placement`, inside the order's transaction.

A change or a pause of a sale locks its products, which the order has read before, under their locks or with
their versions; so the sale read here holds until the order commits. Only admitted entries are locked, in the
order of ids: those that wait are the admission's, which goes by places.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from foundation import lazy_texts
from foundation.db import bulk_sql, transactions
from foundation.db.stuck_rows import Row
from foundation.errors import Rejected
from foundation.lazy_texts import mark as _
from sales.models import Sale, SaleEntry
from sales.waiting_room.entries import ENDED_UNPAID

ADMITTED = SaleEntry.Status.ADMITTED.value
COLUMNS = ("id", "sale_id", "account_id", "status", "admitted_until")
# With the status of the order whose entry holds the account's place.
READ_ENTRIES = """
SELECT {columns}, placed.status FROM sales_saleentry AS entry{by_account}
LEFT JOIN sales_saleentry AS holder
ON holder.sale_id = entry.sale_id AND holder.account_id = entry.account_id AND holder.holds_place = 1
LEFT JOIN orders_order AS placed ON placed.id = holder.order_id
WHERE entry.sale_id IN ({sales}) AND entry.account_id IN ({accounts})
AND entry.is_current = 1 AND entry.status = 'admitted'
"""
PAUSE_RETRY_SECONDS = 10
# Another index would read the entries of all that are admitted.
BY_ACCOUNT = " FORCE INDEX (sales_saleentry_one_current_per_account)"
USE_ENTRIES = """
UPDATE sales_saleentry SET status = 'used', holds_place = 1, order_id = CASE id{cases} END
WHERE id IN ({ids}) AND status = 'admitted'
"""
# Joining frees the place of an order that has ended, but in processes of the release before.
FREE_PLACES = """
UPDATE sales_saleentry SET holds_place = NULL
WHERE sale_id IN ({sales}) AND account_id IN ({accounts}) AND holds_place = 1 AND is_current IS NULL
AND order_id IN (SELECT id FROM orders_order WHERE status IN ({ended}))
"""


class AdmittedEntry(NamedTuple):
    """An entry as it was read, and the instant up to which an order may use it."""

    id: UUID
    until: datetime


def locked_row(account_id: int) -> Row:
    """The rows of an account that its order locks, if it is for a sale with a waiting room."""
    return Row(SaleEntry, account_id, column="account_id")


Pair = tuple[int, int]
"""A sale and an account."""


@dataclass(slots=True)
class SaleTerms:
    """The sales of a batch's products, the admitted entries of its accounts, and those `used`, with their
    orders. An ended order still holds the places of the sales and accounts in `to_free`.
    """

    sales: Mapping[int, Sale] = field(default_factory=dict)
    entries: dict[Pair, "AdmittedEntry"] = field(default_factory=dict)
    to_free: set[Pair] = field(default_factory=set)
    used: dict[UUID, UUID] = field(default_factory=dict)


NO_SALES = SaleTerms()


def read(
    wanted: Iterable[tuple[int, Collection[int | None]]], now: datetime, *, is_locked: bool
) -> SaleTerms:
    """The terms for these accounts, each with the sales of the products that it orders; None is no sale.

    No statement without a sale, one for sales that are open to all, and two with waiting rooms; one more with
    `is_locked`, which locks the entries.
    """
    pairs = {(id, account_id) for account_id, sale_ids in wanted for id in sale_ids if id is not None}
    if not pairs:
        return NO_SALES
    sales = Sale.objects.in_bulk({sale_id for sale_id, _ in pairs})
    queued = {sale.pk for sale in sales.values() if sale.is_queued and sale.status_at(now) == "open"}
    pairs = {pair for pair in pairs if pair[0] in queued}
    terms = SaleTerms(sales)
    if pairs:
        _read_entries(terms, pairs, is_locked=is_locked)
    return terms


def check(terms: SaleTerms, account_id: int, sale_ids: Iterable[int | None], now: datetime) -> list[int]:
    """Check that an order of products of these sales may be placed now; returns those that need an entry.

    Raises `Rejected` with `sales`: `sale_not_open` with the seconds until it opens, `sale_closed`,
    `sale_paused`, and `admission_required`.
    """
    ids = sorted({id for id in sale_ids if id is not None and id in terms.sales})
    if not ids:
        return []
    status = {id: terms.sales[id].status_at(now) for id in ids}
    for refused in (Sale.Status.CLOSED, Sale.Status.PAUSED, Sale.Status.SCHEDULED):
        if found := [terms.sales[id] for id in ids if status[id] == refused]:
            raise _refusal(refused, found, now)
    queued = [id for id in ids if terms.sales[id].is_queued]
    entries = {id: terms.entries.get((id, account_id)) for id in queued}
    if without := [id for id, entry in entries.items() if entry is None or entry.until <= now]:
        detail = _("Join the waiting room, and order when you are admitted: {sales}.", sales=_names(without))
        raise Rejected(detail, code="admission_required", sales=without)
    return queued


def use(terms: SaleTerms, account_id: int, sale_ids: Sequence[int], order_id: UUID) -> None:
    """Let a placed order use the account's entries of these sales, which `check` returned, in memory."""
    for sale_id in sale_ids:
        terms.used[terms.entries.pop((sale_id, account_id)).id] = order_id


def save(terms: SaleTerms, *, is_locked: bool) -> None:
    """Write which entries are used, after their orders. For entries that were not locked, raises
    `transactions.ChangedMeanwhile` when one of them is admitted no more.
    """
    cells = bulk_sql.SqlLiterals()
    if terms.to_free:
        ended = cells.listed(ENDED_UNPAID)
        bulk_sql.execute_deferred(FREE_PLACES.format(ended=ended, **_listed(terms.to_free)))
    cases = "".join([f" WHEN {cells[id]} THEN {cells[order_id]}" for id, order_id in terms.used.items()])
    statement = USE_ENTRIES.format(cases=cases, ids=cells.listed(terms.used))
    if is_locked:
        bulk_sql.execute_deferred(statement)
        return
    if bulk_sql.execute(statement) != len(terms.used):
        raise transactions.ChangedMeanwhile("A sale entry was used or expired since it was read.")


def _read_entries(terms: SaleTerms, pairs: Collection[Pair], *, is_locked: bool) -> None:
    """Add the entries of these sales and accounts that are admitted, or were until their time was over, but
    for those of accounts whose place an order holds that has not ended unpaid.
    """
    reader = bulk_sql.reader(SaleEntry, COLUMNS, alias="entry")
    statement = READ_ENTRIES.format(
        columns=reader.selected,
        by_account=BY_ACCOUNT if connection.vendor == "mysql" else "",
        **_listed(pairs),
    )
    found = [(reader.values(row[:-1]), row[-1]) for row in bulk_sql.fetch(statement)]
    found = [(row, holder) for row, holder in found if (row[1], row[2]) in pairs]
    terms.to_free.update((row[1], row[2]) for row, holder in found if holder)
    rows = [row for row, holder in found if holder in (None, *ENDED_UNPAID)]
    if is_locked:
        # What another transaction changed meanwhile is read again.
        locked = bulk_sql.reader(SaleEntry, COLUMNS)
        rows = locked.rows_of([row[0] for row in rows], lock=bulk_sql.for_update())
    for id, sale_id, account_id, status, admitted_until in rows:
        if status == ADMITTED:
            terms.entries[sale_id, account_id] = AdmittedEntry(id, admitted_until)


def _listed(pairs: Collection[Pair]) -> dict[str, str]:
    """The sales and the accounts of these pairs, as a statement lists them."""
    sales, accounts = map(set, zip(*pairs, strict=True))
    return {"sales": bulk_sql.integer_list(sales), "accounts": bulk_sql.integer_list(accounts)}


def _refusal(status: Sale.Status, sales: Sequence[Sale], now: datetime) -> Rejected:
    """Why these sales, which have this status, take no order."""
    ids = [sale.pk for sale in sales]
    if status == Sale.Status.CLOSED:
        return Rejected(_("The sale is over: {sales}.", sales=_names(ids)), code="sale_closed", sales=ids)
    if status == Sale.Status.PAUSED:
        detail = _("The sale is paused; admitted accounts lose no time: {sales}.", sales=_names(ids))
        return Rejected(detail, code="sale_paused", retry_after=PAUSE_RETRY_SECONDS, sales=ids)
    opens_at = max(sale.opens_at for sale in sales)
    return Rejected(
        _("The sale has not opened yet; it opens at {opens_at:%Y-%m-%d %H:%M:%S} UTC.", opens_at=opens_at),
        code="sale_not_open",
        retry_after=ceil((opens_at - now).total_seconds()),
        sales=ids,
    )


def _names(sale_ids: Sequence[int]) -> lazy_texts.Text:
    return lazy_texts.join(", ", [_("sale {sale}", sale=id) for id in sale_ids])
