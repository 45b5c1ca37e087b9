"""What Celery runs: each task calls one function, and may run twice or never."""

from celery import shared_task

from shop import housekeeping


@shared_task(name="shop.sweep")
def sweep() -> int:
    """Sweep away what nobody needs any more. Returns how many rows went."""
    return housekeeping.sweep()
