"""What an order comes to, how it is paid, and what refuses it: amounts in the currency's minor unit."""

from collections.abc import Sequence
from typing import NamedTuple

from foundation.errors import Rejected, invalid_field
from foundation.lazy_texts import mark as _


class Totals(NamedTuple):
    """An order's amounts: of its items, less the discount the total, which points and the card pay."""

    items_amount: int
    discount_amount: int
    total_amount: int
    points_amount: int
    card_amount: int


def add_up(
    line_amounts: Sequence[int],
    *,
    discount_amount: int,
    points_amount: int,
    expected_total_amount: int | None = None,
) -> Totals:
    """The amounts of an order of these lines.

    Raises `Rejected` `total_changed` if its buyer was shown another total, and `Invalid` `over_total` for
    more points than that.
    """
    items_amount = sum(line_amounts)
    total_amount = items_amount - discount_amount
    if expected_total_amount not in (None, total_amount):
        raise Rejected(
            _("The order's total is {total_amount} now.", total_amount=total_amount),
            code="total_changed",
            total_amount=total_amount,
        )
    if points_amount > total_amount:
        raise invalid_field(
            "points_amount",
            "over_total",
            _("The order's total is only {total_amount}.", total_amount=total_amount),
        )
    return Totals(items_amount, discount_amount, total_amount, points_amount, total_amount - points_amount)


def check_means(points_amount: int, card_amount: int, *, balance_amount: int, token: str | None) -> None:
    """Check, as far as that is known before the payment, that it can be made; `token` None is to pay later.

    Raises `Rejected` `insufficient_points`, and `Invalid` for a card that is missing.
    """
    if points_amount > balance_amount:
        raise Rejected(
            _("The wallet holds fewer points than the order is to use."), code="insufficient_points"
        )
    if token == "" and card_amount:
        raise invalid_field("payment.token", "required", _("A card is needed for what points don't cover."))
