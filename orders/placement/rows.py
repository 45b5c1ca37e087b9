"""What the database says of buyers when orders are placed, and the uses of coupons for first orders.

Placing locks stock, campaigns, entries of sales, and the rows of payers, in this order; nothing is locked
here, but read once the stock is, or its versions are read. It writes the stock, orders and lines, entries,
coupons, these uses, payments and sagas, and the keys.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError

from coupons.models import FirstOrderUse
from foundation.db import bulk_sql
from foundation.models import JournalLine
from inventory.availability import Line, Stocks
from orders.limits import COUNTING, AccountHoldings, FirstOrders, Holdings
from orders.order_states import OPEN, PAID
from orders.placement import own_terms
from orders.placement.own_terms import OwnTerms

# One row per account, from an index alone.
UNPAID = """
SELECT account_id, COUNT(*), CAST(SUM(units) AS SIGNED) FROM orders_order
WHERE account_id IN ({account_ids}) AND status IN ({statuses}) GROUP BY account_id
"""
# LEFT JOIN forces the order accounts, orders, lines: starting with the lines of a product, the database would
# read every sale of it.
UNITS = """
SELECT placed.account_id, line.product_id, SUM(line.quantity - line.refunded_quantity)
FROM orders_order placed
LEFT JOIN orders_orderline line ON line.order_id = placed.id AND line.product_id IN ({product_ids})
WHERE placed.account_id IN ({account_ids}) AND placed.status IN ({statuses})
GROUP BY placed.account_id, line.product_id
"""
# For one account with many orders: the database starts with the product's lines if these are fewer. Its
# estimate is good for one account, and not for all of a batch.
UNITS_OF_ONE = UNITS.replace("LEFT JOIN", "JOIN")
# From an index alone, of which it reads no more than so many entries an account.
WITH_MANY_ORDERS = """
SELECT id FROM auth_user account WHERE id IN ({account_ids})
AND (SELECT 1 FROM orders_order WHERE account_id = account.id LIMIT 1 OFFSET 1000) IS NOT NULL
"""
# From the index of an account's orders alone.
ORDERED = """
SELECT DISTINCT account_id FROM orders_order WHERE account_id IN ({account_ids}) AND status IN ({statuses})
"""
PAST_USES = """
SELECT past.id, past.account_id FROM coupons_firstorderuse past
JOIN orders_order placed ON placed.id = past.order_id
WHERE past.account_id IN ({account_ids}) AND placed.status NOT IN ({statuses})
"""
USES = bulk_sql.Table(FirstOrderUse, ("account_id", "order_id"))


def read_holdings(purchases: Iterable[tuple[int, Sequence[Line]]], stock: Stocks) -> Holdings:
    """What these accounts hold of the products they request: one statement, one more for limited products.

    Must be called after `stock` was read: holdings read earlier may be out of date without being noticed.
    """
    units: dict[int, int] = {}
    product_ids = set()
    for account_id, lines in purchases:
        units[account_id] = units.get(account_id, 0) + sum([line.quantity for line in lines])
        product_ids.update([line.product_id for line in lines])
    holdings = {account_id: AccountHoldings() for account_id in units}
    most = settings.OPEN_UNITS_PER_ACCOUNT
    for account_id, orders, in_orders in _query(UNPAID, OPEN, account_ids=holdings):
        holdings[account_id].unpaid_orders = orders
        units[account_id] += in_orders
    many = [account_id for account_id in holdings if units[account_id] > most]
    for account_id, product_id, held in _read_units(many, product_ids, OPEN):
        holdings[account_id].unpaid_units[product_id] = held
    limited = [id for id in product_ids if id in stock and stock[id].limit_per_account is not None]
    for account_ids, statement in _split_by_orders(holdings if limited else ()):
        for account_id, product_id, held in _read_units(account_ids, limited, OPEN + PAID, statement):
            holdings[account_id].limited_units[product_id] = held
    return holdings


def _split_by_orders(account_ids: Collection[int]) -> Iterator[tuple[Collection[int], str]]:
    """The accounts with few orders together, and each with many, with the statement for them."""
    many = {id for (id,) in _query(WITH_MANY_ORDERS, (), account_ids=account_ids)}
    yield set(account_ids) - many, UNITS
    for account_id in many:
        yield [account_id], UNITS_OF_ONE


def _read_units(
    account_ids: Collection[int],
    product_ids: Collection[int],
    statuses: Sequence[str],
    statement: str = UNITS,
) -> Iterator[tuple[int, int, int]]:
    """Account, product, and its units in the account's orders of these statuses."""
    rows = _query(statement, statuses, account_ids=account_ids, product_ids=product_ids)
    for account_id, product_id, units in rows:
        # Orders without any of these products give one row per account, without a product.
        if product_id is not None:
            yield account_id, product_id, int(units)


def _query(statement: str, statuses: Sequence[str], **ids: Collection[int]) -> Sequence[Sequence[Any]]:
    """The rows of a statement about orders of these statuses; none, and no statement, without an id."""
    if not all(ids.values()):
        return ()
    lists = {name: bulk_sql.integer_list(some) for name, some in ids.items()}
    of_statuses = ", ".join([f"'{status}'" for status in statuses])
    return bulk_sql.fetch(statement.format(statuses=of_statuses, **lists))


def read_first_orders(account_ids: Collection[int]) -> FirstOrders:
    """What these accounts have ordered: two statements, none without an account."""
    have_ordered = {id for (id,) in _query(ORDERED, COUNTING, account_ids=account_ids)}
    past = {id: use_id for use_id, id in _query(PAST_USES, COUNTING, account_ids=account_ids)}
    return FirstOrders(have_ordered, past)


def write_first_orders(first_orders: FirstOrders) -> None:
    """Write the uses of this batch, after their orders, in the place of past ones.

    Raises `IntegrityError`, by the end of the transaction, if another order of an account was faster.
    """
    # By their ids: a use that another order has written since stays, and refuses this one.
    if ids := first_orders.replaced_uses():
        FirstOrderUse.objects.filter(pk__in=ids).delete()
    # In one order of accounts, so that two batches that insert the same ones don't deadlock.
    bulk_sql.insert(USES, sorted(first_orders.new_uses))


def is_conflict(error: IntegrityError) -> bool:
    """Whether another order of an account was faster: by the name of the key or, on SQLite, of the table."""
    return FirstOrderUse._meta.db_table in str(error)


def read_own_terms(account_ids: Iterable[int], subjects: Iterable[str], *, now: datetime) -> OwnTerms:
    """Which of these accounts set the terms of which of these campaigns and products, by the journal.

    Exact for rows that are locked, or whose version is compared later.
    """
    lines = JournalLine.objects.filter(
        actor_id__in=account_ids,
        subject__in=subjects,
        what__in=own_terms.OF_CAMPAIGN + own_terms.OF_PRODUCT,
        at__gte=now - own_terms.CAMPAIGN_PERIOD,
    )
    return {
        (line.actor_id or 0, line.subject)
        for line in lines
        if own_terms.has_set(line.what, line.after, line.at, now=now)
    }
