"""The arithmetic of an order. Integers in the currency's minor unit; no floats anywhere."""

from collections.abc import Sequence


def shares(total_amount: int, line_amounts: Sequence[int]) -> list[int]:
    """Split a discount over lines in proportion to their amounts, rounded down; the last takes the rest.

    No share exceeds its line: where the rest would, it goes to the lines before.
    """
    whole = sum(line_amounts)
    if not whole:
        return [0] * len(line_amounts)
    parts = [total_amount * amount // whole for amount in line_amounts]
    rest = total_amount - sum(parts)
    for index in reversed(range(len(parts))):
        more = min(rest, line_amounts[index] - parts[index])
        parts[index] += more
        rest -= more
    return parts
