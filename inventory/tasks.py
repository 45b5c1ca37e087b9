"""The Celery tasks of inventory. A task may run twice or never."""

from celery import shared_task

from inventory import mirror


@shared_task(name="inventory.sweep", is_due=staticmethod(mirror.is_used))
def sweep() -> int:
    """Correct the mirror of stock, where it is used. Returns how many products were wrong in it."""
    return mirror.heal()
