"""What Celery runs: each task calls one function, and may run twice or never."""

from celery import shared_task

from coupons import maintenance


@shared_task(name="coupons.sweep")
def sweep() -> int:
    """Settle what the dead left behind in Redis and at partners. Returns how many things that were."""
    return maintenance.sweep()
