"""What orders lose: refused ones, and those that end without a payment, as lost demand of their products."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from foundation import clock
from foundation.db import open_transaction
from foundation.errors import FirstcomeError
from inventory import lost_demand
from inventory.availability import Line
from inventory.lost_demand import Loss, Reason

REFUSALS = {"insufficient_stock": Reason.SOLD_OUT, "purchase_limit_reached": Reason.OVER_LIMIT}


def note_refused(account_id: int, lines: Sequence[Line], refusal: FirstcomeError) -> None:
    """Note the products for which an order of these lines was refused, if it was for their units."""
    if reason := REFUSALS.get(refusal.code):
        units = {line.product_id: line.quantity for line in lines}
        day = clock.today()
        products = [item["product"] for item in refusal.extra["items"]]
        lost_demand.note(Loss(day, id, account_id, reason.value, units[id]) for id in products)


def note_ended(lines: Mapping[UUID, Sequence[Line]], owners: Mapping[UUID, tuple[int, Reason]]) -> None:
    """Note the lines of orders that end unpaid, once this transaction commits; `owners` has the account and
    the reason of each.
    """
    day = clock.today()
    losses = [
        Loss(day, line.product_id, account_id, reason.value, line.quantity, line.sold_amount)
        for order_id, (account_id, reason) in owners.items()
        for line in lines[order_id]
    ]
    open_transaction.count_after_commit(lost_demand.note, losses)
