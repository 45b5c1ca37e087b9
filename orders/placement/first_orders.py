"""First orders: which accounts have ordered already, and which order used a coupon for first orders.

Only orders with such a coupon are restricted, so no lock is needed: a concurrent order without one may have
come later. Of two concurrent orders with such coupons the unique key of `FirstOrderUse` refuses the second,
which is decided once more (`is_conflict`), and finds the first.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import IntegrityError, connection

from coupons.models import FirstOrderUse
from orders.models import Order
from orders.order_states import OPEN
from shop.db import bulk_sql

# Plain SQL, as `limits` has it: from the index of an account's orders alone.
ORDERED = """
SELECT DISTINCT account_id FROM orders_order WHERE account_id IN ({account_ids}) AND status IN ({statuses})
"""
PAST_USES = """
SELECT past.id, past.account_id FROM coupons_firstorderuse past
JOIN orders_order placed ON placed.id = past.order_id
WHERE past.account_id IN ({account_ids}) AND placed.status NOT IN ({statuses})
"""
COUNTING = (*OPEN, Order.Status.PAID, Order.Status.REFUNDING)


USES = bulk_sql.Table(FirstOrderUse, ("account_id", "order_id"))


@dataclass(slots=True)
class FirstOrders:
    """Which of a batch's accounts have ordered, and the uses of orders that no longer count, by account.

    `is_wanted` says whether a request of the batch names a coupon for first orders.
    """

    is_wanted: bool = False
    have_ordered: set[int] = field(default_factory=set)
    past_uses: dict[int, int] = field(default_factory=dict)
    new_uses: list[tuple[int, UUID]] = field(default_factory=list)


def read(account_ids: Collection[int]) -> FirstOrders:
    """What these accounts have ordered: two statements, none without an account."""
    if not account_ids:
        return FirstOrders()
    have_ordered = {account_id for (account_id,) in _query(ORDERED, account_ids)}
    past = {account_id: use_id for use_id, account_id in _query(PAST_USES, account_ids)}
    return FirstOrders(True, have_ordered, past)


def add(first_orders: FirstOrders, *, account_id: int, order_id: UUID, with_first_order_coupon: bool) -> None:
    """Add an order placed in this batch; `write` writes its use of a coupon for first orders."""
    first_orders.have_ordered.add(account_id)
    if with_first_order_coupon:
        first_orders.new_uses.append((account_id, order_id))


def write(first_orders: FirstOrders) -> None:
    """Write the uses of this batch, after their orders, in the place of past ones.

    Raises `IntegrityError`, by the end of the transaction, if another order of an account was faster.
    """
    # By their ids: a use that another order has written since stays, and refuses this one.
    past, new = first_orders.past_uses, first_orders.new_uses
    ids = sorted(past[account_id] for account_id, _ in new if account_id in past)
    if ids:
        FirstOrderUse.objects.filter(pk__in=ids).delete()
    # In one order of accounts, so that two batches that insert the same ones don't deadlock.
    bulk_sql.insert(USES, sorted(new))


def is_conflict(error: IntegrityError) -> bool:
    """Whether another order of an account was faster: by the name of the key or, on SQLite, of the table."""
    return FirstOrderUse._meta.db_table in str(error)


def _query(statement: str, account_ids: Collection[int]) -> Sequence[Sequence[int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            statement.format(
                account_ids=bulk_sql.integer_list(account_ids),
                statuses=", ".join([f"'{status}'" for status in COUNTING]),
            )
        )
        return cursor.fetchall()
