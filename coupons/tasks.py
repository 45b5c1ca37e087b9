"""The Celery tasks of coupons. A task may run twice or never."""

from collections.abc import Callable

from celery import shared_task

from coupons import gate, pool_list
from coupons.partners import confirmation
from coupons.queue import tickets
from foundation.operations import housekeeping

SWEEPERS: list[Callable[[], int]] = [
    pool_list.heal,
    gate.heal,
    confirmation.recover_due,
    tickets.requeue_missing,
]


@shared_task(name="coupons.sweep")
def sweep() -> int:
    """Clean up after crashed processes, in Redis and at partners. Returns how many things were cleaned up.

    Runs every sweeper; raises as `housekeeping.run_each`.
    """
    return housekeeping.run_each(SWEEPERS)
