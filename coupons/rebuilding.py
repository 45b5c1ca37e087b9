"""Making anew what coupons keep in Redis, from the database, at any moment."""

from collections.abc import Callable

from coupons.pool_list import healing

REBUILDERS: dict[str, Callable[[], int]] = {"codes_listed": healing.rebuild}


def rebuild() -> dict[str, int]:
    """Have everything made anew. Returns how many things that were, of each kind there were any."""
    made = {kind: rebuilder() for kind, rebuilder in REBUILDERS.items()}
    return {kind: number for kind, number in made.items() if number}
