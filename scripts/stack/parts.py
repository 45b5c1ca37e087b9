"""A part of what takes too long for each change: `PART=3/12` of make."""

from collections.abc import Sequence
from typing import TypeVar

from scripts.stack import SetupError

_Item = TypeVar("_Item")


def chosen(items: Sequence[_Item], part: str) -> list[_Item]:
    """Every Nth of the items from the Kth on, for the part `K/N`; all of them for "". Raises SetupError."""
    if not part:
        return list(items)
    first, _, step = part.partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        raise SetupError(f"PART={part} is no part: say 3/12 for the third of twelve")
    return list(items[int(first) - 1 :: int(step)])
