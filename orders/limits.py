"""What an account may place: its purchase limits, and whether an order is its first one; and how many cards
the account, and an API key, may try: past so many declines no payment is started.

The units of a product with a `limit_per_account` are counted exactly. Concurrent orders of an account for
different products, in different processes, may exceed `OPEN_UNITS_PER_ACCOUNT` and `OPEN_ORDERS_PER_ACCOUNT`.
First orders need no lock: a concurrent order without such a coupon may have come later, and of two with one
the unique key of `FirstOrderUse` refuses the second, which is decided again (`placement.rows.is_conflict`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
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


# First orders

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


# Cards

OF_ACCOUNT = "declines"
OF_KEY = "declines-per-key"


class Payer(NamedTuple):
    """The account whose card is charged, and the API key by which, if any."""

    account_id: int
    key_id: int | None = None


Counts = dict[tuple[str, int], int]
"""How many payments count, with those of this transaction, by the limit and the account's or key's id."""


def card_limits_of(payer: Payer | None) -> list[tuple[str, int]]:
    """The payer's limits, the key's first, each with the id by which it counts."""
    if payer is None:
        return []
    of_account = (OF_ACCOUNT, payer.account_id)
    return [of_account] if payer.key_id is None else [(OF_KEY, payer.key_id), of_account]


def reached_card_limit(counts: Counts, payer: Payer, most: Mapping[str, int]) -> tuple[str, int] | None:
    """The limit, with the id by which it counts, that one more card of the payer could exceed; limits that
    are not in `most` don't apply.
    """
    for pair in card_limits_of(payer):
        name, _ = pair
        if name in most and counts.get(pair, 0) >= most[name]:
            return pair
    return None


def add_card(counts: Counts, payer: Payer | None) -> None:
    """Add a payment that this transaction starts, for the payer's later ones in it."""
    for pair in card_limits_of(payer):
        counts[pair] = counts.get(pair, 0) + 1
