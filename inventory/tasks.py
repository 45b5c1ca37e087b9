"""The Celery tasks of inventory. A task may run twice or never."""

from celery import shared_task

from inventory.mirror import mirror
from shop.admin_base import uploads


@shared_task(name="inventory.sweep")
def sweep() -> int:
    """Correct the mirror of stock, where it is used, and delete uploads that were never confirmed.

    Returns how many products were wrong in the mirror.
    """
    uploads.clear()
    return mirror.heal()
