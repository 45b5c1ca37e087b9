"""Celery tasks: each calls one function, and may run twice or never."""

from celery import shared_task

from foundation.admin_base import uploads
from foundation.operations import housekeeping
from foundation.operations.audits import scheduled_audit


@shared_task(name="shop.sweep")
def sweep() -> int:
    """Delete rows that are no longer needed, and uploads that were never confirmed. Returns how many rows."""
    uploads.clear()
    return housekeeping.sweep()


@shared_task(name="shop.audit")
def audit() -> bool:
    """Do the part of the scheduled audit that is due. Returns whether there was one."""
    return scheduled_audit.run_due()
