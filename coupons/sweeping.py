"""The housekeeping of coupons: what the dead left behind in Redis and at partners is settled."""

from collections.abc import Callable

from coupons import following_up, restoring
from coupons.in_redis import code_healing, gate_healing

SWEEPERS: list[Callable[[], int]] = [
    code_healing.sweep,
    gate_healing.heal,
    following_up.follow_up,
    restoring.put_back,
]


def sweep() -> int:
    """One pass of every sweeper, whatever becomes of the others. Returns how many things were put right.

    Raises an `ExceptionGroup` of what any of them raised, once all have run.
    """
    count, failures = 0, []
    for sweeper in SWEEPERS:
        try:
            count += sweeper()
        except Exception as error:
            failures.append(error)
    if failures:
        raise ExceptionGroup("sweeping coupons failed in part", failures)
    return count
