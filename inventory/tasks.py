"""What Celery runs: each task calls one function, and may run twice or never."""

from celery import shared_task

from inventory.imports import kept_uploads
from inventory.mirror import healing


@shared_task(name="inventory.sweep")
def sweep() -> int:
    """Put the mirror of stock right, where there is one, and clear uploads that were never confirmed.

    Returns how many products were wrong in the mirror.
    """
    kept_uploads.clear()
    return healing.heal()
