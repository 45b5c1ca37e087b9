"""Purchase limits: whether an account that holds this much may place one more order.

The units of a product with a `limit_per_account` are counted exactly. Concurrent orders of an account for
different products, in different processes, may exceed `OPEN_UNITS_PER_ACCOUNT` and `OPEN_ORDERS_PER_ACCOUNT`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from foundation import lazy_texts
from foundation.errors import Held
from foundation.lazy_texts import mark


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
