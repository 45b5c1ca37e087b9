"""The housekeeping of coupons: what the dead left behind in Redis and at partners is settled."""

from collections.abc import Callable

SWEEPERS: list[Callable[[], int]] = []


def sweep() -> int:
    """One pass of every sweeper. Returns how many things were put right."""
    return sum(sweeper() for sweeper in SWEEPERS)
