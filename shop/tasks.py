"""What Celery runs: each task calls one function, and may run twice or never."""

from celery import shared_task

from shop.events import outbox
from shop.operations import housekeeping


@shared_task(name="shop.sweep")
def sweep() -> int:
    """Sweep away what nobody needs any more. Returns how many rows went."""
    return housekeeping.sweep()


@shared_task(name="shop.relay")
def relay() -> int:
    """Deliver the events whose time has come. Returns how many."""
    return outbox.deliver_due()
