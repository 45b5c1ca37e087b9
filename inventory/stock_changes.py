"""Changes of stock levels, and what they mean for what is available."""

from typing import NamedTuple


class Change(NamedTuple):
    """What is added to a product's levels; negative numbers are subtracted."""

    on_hand: int = 0
    reserved: int = 0


def is_low(before: int, after: int, threshold: int | None) -> bool:
    """Whether what is available has fallen to the product's threshold, if it has one."""
    return threshold is not None and before > threshold >= after


def is_turn(before: int, after: int) -> bool:
    """Whether a product is sold out, or available again."""
    return (before > 0) != (after > 0)
