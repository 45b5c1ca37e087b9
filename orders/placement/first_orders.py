"""First orders: which accounts have ordered already, and which order used a coupon for first orders.

No lock is needed: a concurrent order without such a coupon may have come later, and of two with one the
unique key of `FirstOrderUse` refuses the second, which is decided once more (`placement.rows.is_conflict`).
"""

from dataclasses import dataclass, field
from uuid import UUID

from orders.order_states import OPEN, Status

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
