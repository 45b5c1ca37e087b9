"""The housekeeping of coupons: clean-up after crashed processes, and rebuilding what Redis keeps of them."""

from collections.abc import Callable

from coupons.gate import healing as gate_healing
from coupons.partners import confirmation_recovery
from coupons.pool_list import healing as pool_healing
from coupons.queue import recovery

REBUILDERS: dict[str, Callable[[], int]] = {"codes_listed": pool_healing.rebuild}


def rebuild() -> dict[str, int]:
    """Rebuild what Redis keeps. Returns the numbers of rebuilt things by kind, without zeros."""
    made = {kind: rebuilder() for kind, rebuilder in REBUILDERS.items()}
    return {kind: number for kind, number in made.items() if number}


SWEEPERS: list[Callable[[], int]] = [
    pool_healing.heal,
    gate_healing.heal,
    confirmation_recovery.recover_due,
    recovery.requeue_missing,
]


def sweep() -> int:
    """Run every sweeper once, even if others fail. Returns how many things were cleaned up.

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
