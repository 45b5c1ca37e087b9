"""A rate, as settings have it: this module needs none."""

from typing import NamedTuple


class Rate(NamedTuple):
    """So many times in a window of so many seconds."""

    times: int
    seconds: int
