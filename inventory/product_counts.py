"""What is counted of a product on a day, and what an account did not get."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import NamedTuple

SOLD = ("units_sold", "sold_amount", "units_refunded", "refunded_amount")
"""The columns of what was sold and refunded."""


class DayChange(NamedTuple):
    """What is added to the row of a product and a day, by the names of its columns; amounts are in the
    currency's minor unit.
    """

    day: date
    product_id: int
    numbers: Mapping[str, int]


class Loss(NamedTuple):
    """What an account did not get; `amount`, in minor units, is by the product's price where it is None."""

    day: date
    product_id: int
    account_id: int
    reason: str
    units: int
    amount: int | None = None


def new_losses(
    losses: Iterable[Loss], known: Collection[tuple[date, int, int]], prices: Mapping[int, int]
) -> list[Loss]:
    """Those that are not counted yet, with their amounts, in the order of days, products and accounts; none
    of a product without a price, which is gone.
    """
    new = [loss for loss in sorted(losses) if loss[:3] not in known and loss.product_id in prices]
    return [
        loss._replace(amount=prices[loss.product_id] * loss.units) if loss.amount is None else loss
        for loss in new
    ]


def change_of(loss: Loss) -> DayChange:
    """What a loss adds to its day."""
    numbers = {"lost_units": loss.units, "lost_amount": loss.amount or 0, f"lost_{loss.reason}": 1}
    return DayChange(loss.day, loss.product_id, numbers)
