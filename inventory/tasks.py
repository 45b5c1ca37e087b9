"""What Celery runs: each task calls one function, and may run twice or never."""

from celery import shared_task

from inventory import healing


@shared_task(name="inventory.sweep")
def sweep() -> int:
    """Put the mirror of stock right, where there is one. Returns how many products were wrong in it."""
    return healing.heal()
