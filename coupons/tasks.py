"""Celery tasks: each calls one function, and may run twice or never."""

from celery import shared_task

from coupons import maintenance


@shared_task(name="coupons.sweep")
def sweep() -> int:
    """Clean up after crashed processes, in Redis and at partners. Returns how many things were cleaned up."""
    return maintenance.sweep()
