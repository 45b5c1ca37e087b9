"""Sales and admitted entries as an order's transaction reads and writes them.

A change or a pause of a sale locks its products, which the order has read before, under their locks or with
their versions; so the sale read here holds until the order commits. Only admitted entries are locked, in the
order of ids, after the products: those that wait are the admission's, which goes by places. After the
orders it writes places that ended orders hold, and then the entries that are used.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from django.db import connection

from foundation.db import bulk_sql, transactions
from foundation.db.stuck_rows import Row
from sales import order_checks
from sales.models import Sale, SaleEntry
from sales.order_checks import NO_SALES, AdmittedEntry, Pair, SaleTerms
from sales.sale_states import EntryStatus
from sales.waiting_room.entries import ENDED_UNPAID

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


def locked_row(account_id: int) -> Row:
    """The rows of an account that its order locks, if it is for a sale with a waiting room."""
    return Row(SaleEntry, account_id, column="account_id")


def read_terms(
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
    terms = SaleTerms({id: sale.state for id, sale in sales.items()})
    if pairs := order_checks.pairs_with_entries(terms.sales, pairs, now):
        _read_entries(terms, pairs, is_locked=is_locked)
    return terms


def save_used(terms: SaleTerms, *, is_locked: bool) -> None:
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
        if status == EntryStatus.ADMITTED:
            terms.entries[sale_id, account_id] = AdmittedEntry(id, admitted_until)


def _listed(pairs: Collection[Pair]) -> dict[str, str]:
    """The sales and the accounts of these pairs, as a statement lists them."""
    sales, accounts = map(set, zip(*pairs, strict=True))
    return {"sales": bulk_sql.integer_list(sales), "accounts": bulk_sql.integer_list(accounts)}
