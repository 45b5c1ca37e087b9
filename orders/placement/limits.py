"""What an account may place: its purchase limits, and whether an order is its first one.

The units of a product with a `limit_per_account` are counted exactly. Concurrent orders of an account for
different products, in different processes, may exceed `OPEN_UNITS_PER_ACCOUNT` and `OPEN_ORDERS_PER_ACCOUNT`.
First orders need no lock: a concurrent order without such a coupon may have come later, and of two with one
the unique key of `FirstOrderUse` refuses the second, which is decided again (`placement.rows.is_conflict`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from foundation import lazy_texts
from foundation.errors import Held
from foundation.lazy_texts import mark
from orders.order_states import OPEN, Status


@dataclass(slots=True)
class AccountHoldings:
    """What an account holds: its unpaid orders, and units by product, those under a limit apart."""

    unpaid_orders: int = 0
    unpaid_units: dict[int, int] = field(default_factory=dict)
    limited_units: dict[int, int] = field(default_factory=dict)


Holdings = dict[int, AccountHoldings]
"""What each account of a batch holds, by account id."""


Wanted = tuple[int, int, int | None]
"""A product, its units that an order wants, and the product's limit for each account, if it has one."""


def check(
    held: AccountHoldings, lines: Sequence[Wanted], *, most_unpaid_orders: int, most_unpaid_units: int
) -> None:
    """Check that an account with these holdings may place an order of these lines.

    Raises `Held` `too_many_open_orders` with `limit`, and `purchase_limit_reached` with `items`, one
    `{product, limit, held}` for each product whose limit the order would exceed.
    """
    if held.unpaid_orders >= most_unpaid_orders:
        raise Held(
            mark(
                "This account has {limit} unpaid orders: pay or cancel one first.", limit=most_unpaid_orders
            ),
            code="too_many_open_orders",
            limit=most_unpaid_orders,
        )
    reached = []
    for id, quantity, own_limit in lines:
        limited_units = held.limited_units.get(id, 0)
        unpaid_units = held.unpaid_units.get(id, 0)
        if own_limit is not None and limited_units + quantity > own_limit:
            reached.append({"product": id, "limit": own_limit, "held": limited_units})
        elif unpaid_units + quantity > most_unpaid_units:
            reached.append({"product": id, "limit": most_unpaid_units, "held": unpaid_units})
    if reached:
        names = lazy_texts.join(
            ", ", [mark("product {product} ({held} of {limit})", **item) for item in reached]
        )
        raise Held(
            mark("The order would exceed this account's purchase limit of: {products}.", products=names),
            code="purchase_limit_reached",
            items=reached,
        )


def add(held: AccountHoldings, lines: Sequence[Wanted]) -> None:
    """Add an order of these lines that was just placed."""
    held.unpaid_orders += 1
    for units in (held.unpaid_units, held.limited_units):
        for id, quantity, _limit in lines:
            units[id] = units.get(id, 0) + quantity


COUNTING = (*OPEN, Status.PAID, Status.REFUNDING)


@dataclass(slots=True)
class FirstOrders:
    """Which of a batch's accounts have ordered, also in it; the uses of orders that no longer count, by
    account; and the uses of this batch.
    """

    have_ordered: set[int] = field(default_factory=set)
    past_uses: dict[int, int] = field(default_factory=dict)
    new_uses: list[tuple[int, UUID]] = field(default_factory=list)

    def add(self, account_id: int, order_id: UUID, *, is_use: bool) -> None:
        """Add an order that was just placed, with or without a coupon for first orders."""
        self.have_ordered.add(account_id)
        if is_use:
            self.new_uses.append((account_id, order_id))

    def replaced_uses(self) -> list[int]:
        """The past uses, by their ids in order, whose accounts have new ones."""
        past = self.past_uses
        return sorted(past[account_id] for account_id, _ in self.new_uses if account_id in past)
