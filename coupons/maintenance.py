"""The housekeeping of coupons: clean-up after crashed processes."""

from collections.abc import Callable

from coupons.gate import healing as gate_healing
from coupons.partners import confirmation_recovery
from coupons.pool_list import healing as pool_healing
from coupons.queue import recovery
from shop.operations import housekeeping

SWEEPERS: list[Callable[[], int]] = [
    pool_healing.heal,
    gate_healing.heal,
    confirmation_recovery.recover_due,
    recovery.requeue_missing,
]


def sweep() -> int:
    """Run every sweeper once. Returns how many things were cleaned up; raises as `housekeeping.run_each`."""
    return housekeeping.run_each(SWEEPERS)
