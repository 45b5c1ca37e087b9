"""The arithmetic of an order. Integers in the currency's minor unit; no floats anywhere."""

from collections.abc import Sequence


def split_discount(total_amount: int, line_amounts: Sequence[int]) -> list[int]:
    """Split a discount over lines in proportion to their amounts, rounded down; the last takes the rest.

    No share exceeds its line: where the rest would, it goes to the lines before.
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
    """What `count` of a line's units cost: their price less their share of the discount, rounded down.

    What a refund gives back is the difference of two of these, so all refunds of a line together give
    back just what the line cost, however it was cut up.
    """
    return count * unit_price - discount_amount * count // quantity


def refund_points_amount(
    amount: int, *, points_amount: int, total_amount: int, refundable_card_amount: int
) -> int:
    """How much of a refund is points: the proportion in which the order paid, rounded down.

    No more is left for the card than the card has left. That makes the last refund give back exactly what
    is left of both: the amount is then all that is left, and so what the card hasn't is points.
    """
    proportion = amount * points_amount // total_amount if total_amount else 0
    return max(proportion, amount - refundable_card_amount)
