"""The housekeeping of coupons: what the dead left behind in Redis and at partners is settled."""

from collections.abc import Callable

from coupons.gate import healing as gate_healing
from coupons.partners import confirmation_recovery
from coupons.pool_list import healing as pool_healing
from coupons.queue import recovery

SWEEPERS: list[Callable[[], int]] = [
    pool_healing.sweep,
    gate_healing.heal,
    confirmation_recovery.follow_up,
    recovery.put_back,
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
