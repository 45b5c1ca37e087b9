"""What Celery runs: each task calls one function, and may run twice or never."""

from celery import shared_task

from payments import webhooks
from payments.reconciliation import reconciling


@shared_task(name="payments.reconcile")
def reconcile() -> int:
    """Compare our book with the gateway's. Returns how many differences are left."""
    run = reconciling.reconcile_by_schedule()
    return run.differences - run.refunded


@shared_task(name="payments.sweep")
def sweep() -> int:
    """Forget events and comparisons of long ago. Returns how many."""
    return webhooks.sweep() + reconciling.sweep()
