"""What happened to an order, oldest first: its part of the journal."""

from uuid import UUID

from django.db.models import QuerySet

from shop.models import JournalLine


def of(order_id: UUID, *, for_staff: bool) -> "QuerySet[JournalLine]":
    """All that the order, its payment and refunds went through; staff also see every attempt in vain."""
    # Parts of one transaction note their lines at its end, each with the moment when it happened.
    lines = JournalLine.objects.filter(order_id=order_id).order_by("at", "id")
    return lines if for_staff else lines.filter(is_internal=False)
