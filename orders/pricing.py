"""Amounts of orders and refunds: integers in the currency's minor unit, never floats."""

from collections.abc import Sequence

from foundation.errors import Rejected, invalid_field
from foundation.lazy_texts import mark


def fit_amounts(line_amounts: Sequence[int], total_amount: int) -> list[int]:
    """The lines' amounts, less each one's share of what they exceed the total by."""
    missing = split_discount(max(0, sum(line_amounts) - total_amount), line_amounts)
    return [amount - less for amount, less in zip(line_amounts, missing, strict=True)]


def split_discount(total_amount: int, line_amounts: Sequence[int]) -> list[int]:
    """Split a discount over lines in proportion to their amounts, rounded down; the last takes the rest.

    No share exceeds its line's amount: what the last line can't take goes to the lines before it.
    """
    whole = sum(line_amounts)
    if not whole or not total_amount:
        return [0] * len(line_amounts)
    parts = [total_amount * amount // whole for amount in line_amounts]
    rest = total_amount - sum(parts)
    for index in reversed(range(len(parts))):
        more = min(rest, line_amounts[index] - parts[index])
        parts[index] += more
        rest -= more
    return parts


def discounted_amount(count: int, *, quantity: int, unit_price: int, discount_amount: int) -> int:
    """The price of `count` units of a line less their share of the discount, which is rounded down.

    Refunds are differences of these amounts, so they add up to what the line cost, however they are split.
    """
    return count * unit_price - discount_amount * count // quantity


def refund_points_amount(
    amount: int, *, points_amount: int, total_amount: int, refundable_card_amount: int
) -> int:
    """The points of a refund: the proportion of points in the order's payment, rounded down.

    The card's part never exceeds what is left on the card, so the last refund returns what is left of both.
    """
    proportion = amount * points_amount // total_amount if total_amount else 0
    return max(proportion, amount - refundable_card_amount)


def check_total(total_amount: int, *, points_amount: int, expected_total_amount: int | None) -> None:
    """Raise `Rejected` `total_changed` for an order whose buyer was shown another total, and `Invalid`
    `over_total` for one of more points than that.
    """
    if expected_total_amount not in (None, total_amount):
        raise Rejected(
            mark("The order's total is {total_amount} now.", total_amount=total_amount),
            code="total_changed",
            total_amount=total_amount,
        )
    if points_amount > total_amount:
        raise invalid_field(
            "points_amount",
            "over_total",
            mark("The order's total is only {total_amount}.", total_amount=total_amount),
        )


def check_means(points_amount: int, card_amount: int, *, balance_amount: int, token: str | None) -> None:
    """Check, as far as that is known before the payment, that it can be made; `token` None is to pay later.

    Raises `Rejected` `insufficient_points`, and `Invalid` for a card that is missing.
    """
    if points_amount > balance_amount:
        raise Rejected(
            mark("The wallet holds fewer points than the order is to use."), code="insufficient_points"
        )
    if token == "" and card_amount:
        raise invalid_field(
            "payment.token", "required", mark("A card is needed for what points don't cover.")
        )
