"""Celery tasks: each calls one function, and may run twice or never."""

from celery import shared_task

from shop.events import outbox
from shop.operations import housekeeping


@shared_task(name="shop.sweep")
def sweep() -> int:
    """Delete rows that are no longer needed. Returns how many."""
    return housekeeping.sweep()


@shared_task(name="shop.relay")
def relay() -> int:
    """Deliver the due events. Returns how many."""
    return outbox.deliver_due()
