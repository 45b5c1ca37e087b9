"""First orders: which accounts have ordered already, and which order used a coupon for first orders.

No lock is needed: a concurrent order without such a coupon may have come later, and of two with one the
unique key of `FirstOrderUse` refuses the second, which is decided once more (`is_conflict`).
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from django.db import IntegrityError

from coupons.models import FirstOrderUse
from foundation.db import bulk_sql
from orders.models import Order
from orders.order_states import OPEN
from orders.placement import limits

# From the index of an account's orders alone.
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
    """Which of a batch's accounts have ordered, also in it; the uses of orders that no longer count, by
    account; and the uses of this batch.
    """

    have_ordered: set[int] = field(default_factory=set)
    past_uses: dict[int, int] = field(default_factory=dict)
    new_uses: list[tuple[int, UUID]] = field(default_factory=list)


def read(account_ids: Collection[int]) -> FirstOrders:
    """What these accounts have ordered: two statements, none without an account."""
    have_ordered = {id for (id,) in limits.query(ORDERED, COUNTING, account_ids=account_ids)}
    past = {id: use_id for use_id, id in limits.query(PAST_USES, COUNTING, account_ids=account_ids)}
    return FirstOrders(have_ordered, past)


def write(first_orders: FirstOrders) -> None:
    """Write the uses of this batch, after their orders, in the place of past ones.

    Raises `IntegrityError`, by the end of the transaction, if another order of an account was faster.
    """
    # By their ids: a use that another order has written since stays, and refuses this one.
    past = first_orders.past_uses
    new = first_orders.new_uses
    ids = sorted(past[account_id] for account_id, _ in new if account_id in past)
    if ids:
        FirstOrderUse.objects.filter(pk__in=ids).delete()
    # In one order of accounts, so that two batches that insert the same ones don't deadlock.
    bulk_sql.insert(USES, sorted(new))


def is_conflict(error: IntegrityError) -> bool:
    """Whether another order of an account was faster: by the name of the key or, on SQLite, of the table."""
    return FirstOrderUse._meta.db_table in str(error)
