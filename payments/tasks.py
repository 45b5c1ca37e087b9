"""The Celery tasks of payments. A task may run twice or never."""

from celery import shared_task

from payments import webhooks
from payments.reconciliation import reconciling


@shared_task(name="payments.reconcile")
def reconcile() -> int:
    """Compare our payments with the gateway's book. Returns how many differences are left."""
    run = reconciling.reconcile_by_schedule()
    return run.differences - run.refunded


@shared_task(name="payments.sweep")
def sweep() -> int:
    """Delete old events and comparisons. Returns how many."""
    return webhooks.sweep() + reconciling.sweep()
