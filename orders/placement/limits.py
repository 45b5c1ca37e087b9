"""Purchase limits: what an account holds in its orders, and whether one more order exceeds a limit.

The units of a product with a `limit_per_account` are counted exactly. Concurrent orders of an account for
different products, in different processes, may exceed `OPEN_UNITS_PER_ACCOUNT` and `OPEN_ORDERS_PER_ACCOUNT`.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import F, Q, Sum

from foundation import lazy_texts
from foundation.db import bulk_sql
from foundation.errors import Held
from foundation.lazy_texts import mark as _
from inventory.reservations import Line
from inventory.stock import Stocks
from orders.models import Order, OrderLine
from orders.order_states import OPEN, PAID

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
# An account with more orders than this is read in part, which the page says, and by itself.
MOST_ORDERS = 1_000
MOST_PRODUCTS = 50


@dataclass(slots=True)
class AccountHoldings:
    """What an account holds: its unpaid orders, and units by product, those under a limit apart."""

    unpaid_orders: int = 0
    unpaid_units: dict[int, int] = field(default_factory=dict)
    limited_units: dict[int, int] = field(default_factory=dict)


Holdings = dict[int, AccountHoldings]
"""What each account of a batch holds, by account id."""


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
    for account_id, orders, in_orders in query(UNPAID, OPEN, account_ids=holdings):
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


def check(held: AccountHoldings, lines: Sequence[Line], stock: Stocks) -> None:
    """Check that an account with these holdings may place an order of these lines.

    Raises `Held` `too_many_open_orders` with `limit`, and `purchase_limit_reached` with `items`, one
    `{product, limit, held}` for each product whose limit the order would exceed.
    """
    if held.unpaid_orders >= settings.OPEN_ORDERS_PER_ACCOUNT:
        limit = settings.OPEN_ORDERS_PER_ACCOUNT
        raise Held(
            _("This account has {limit} unpaid orders: pay or cancel one first.", limit=limit),
            code="too_many_open_orders",
            limit=limit,
        )
    reached = []
    most_unpaid = settings.OPEN_UNITS_PER_ACCOUNT
    for line in lines:
        id = line.product_id
        own_limit = stock[line.product_id].limit_per_account
        if own_limit is not None and held.limited_units.get(id, 0) + line.quantity > own_limit:
            reached.append({"product": id, "limit": own_limit, "held": held.limited_units.get(id, 0)})
        elif held.unpaid_units.get(id, 0) + line.quantity > most_unpaid:
            reached.append({"product": id, "limit": most_unpaid, "held": held.unpaid_units.get(id, 0)})
    if reached:
        names = lazy_texts.join(
            ", ", [_("product {product} ({held} of {limit})", **item) for item in reached]
        )
        raise Held(
            _("The order would exceed this account's purchase limit of: {products}.", products=names),
            code="purchase_limit_reached",
            items=reached,
        )


def add(held: AccountHoldings, lines: Sequence[Line]) -> None:
    held.unpaid_orders += 1
    for units in (held.unpaid_units, held.limited_units):
        for line in lines:
            units[line.product_id] = units.get(line.product_id, 0) + line.quantity


def _split_by_orders(account_ids: Collection[int]) -> Iterator[tuple[Collection[int], str]]:
    """The accounts with few orders together, and each with many, with the statement for them."""
    many = {id for (id,) in query(WITH_MANY_ORDERS, (), account_ids=account_ids)}
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
    rows = query(statement, statuses, account_ids=account_ids, product_ids=product_ids)
    for account_id, product_id, units in rows:
        # Orders without any of these products give one row per account, without a product.
        if product_id is not None:
            yield account_id, product_id, int(units)


def query(statement: str, statuses: Sequence[str], **ids: Collection[int]) -> Sequence[Sequence[Any]]:
    """The rows of a statement about orders of these statuses; none, and no statement, without an id."""
    if not all(ids.values()):
        return ()
    lists = {name: bulk_sql.integer_list(some) for name, some in ids.items()}
    of_statuses = ", ".join([f"'{status}'" for status in statuses])
    return bulk_sql.fetch(statement.format(statuses=of_statuses, **lists))


class ProductUsage(NamedTuple):
    """An account's units of a product, less refunded ones; `held_units` count towards the product's limit."""

    product_id: int
    sku: str
    limit: int | None
    unpaid_units: int
    held_units: int


class AccountUsage(NamedTuple):
    """An account's unpaid orders, and its units of products that are unpaid or limited.

    `is_complete` is False if only its newest `MOST_ORDERS` orders, or `MOST_PRODUCTS` products, were read.
    """

    unpaid_orders: int
    products: list[ProductUsage]
    is_complete: bool


def read_usage(account_id: int) -> AccountUsage:
    """What the account uses now: three statements, by the account's index."""
    orders = Order.objects.filter(account_id=account_id)
    unpaid_orders = orders.filter(status__in=OPEN).count()
    counting = orders.filter(status__in=OPEN + PAID).order_by("-id").values_list("id", flat=True)
    order_ids = list(counting[: MOST_ORDERS + 1])
    is_unpaid = Q(order__status__in=OPEN)
    units = F("quantity") - F("refunded_quantity")
    rows = (
        OrderLine.objects.filter(order_id__in=order_ids[:MOST_ORDERS])
        .filter(is_unpaid | Q(product__limit_per_account__isnull=False))
        .values_list("product_id", "product__sku", "product__limit_per_account")
        .annotate(unpaid=Sum(units, filter=is_unpaid, default=0), held=Sum(units))
        .filter(held__gt=0)
        .order_by("-held", "product_id")[: MOST_PRODUCTS + 1]
    )
    products = [ProductUsage(*row) for row in rows] if order_ids else []
    is_complete = len(order_ids) <= MOST_ORDERS and len(products) <= MOST_PRODUCTS
    return AccountUsage(unpaid_orders, products[:MOST_PRODUCTS], is_complete)
