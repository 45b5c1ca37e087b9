"""What Celery runs: each task calls one function, and may run twice or never."""

from celery import shared_task

from shop import housekeeping, outbox


@shared_task(name="shop.sweep")
def sweep() -> int:
    """Sweep away what nobody needs any more. Returns how many rows went."""
    return housekeeping.sweep()


@shared_task(name="shop.relay")
def relay() -> int:
    """Deliver the events whose time has come. Returns how many."""
    return outbox.deliver_due()
