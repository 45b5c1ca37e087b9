"""What happened to an order, oldest first: its part of the journal."""

from uuid import UUID

from django.db.models import QuerySet

from shop.models import JournalLine


def of(order_id: UUID, *, for_staff: bool) -> "QuerySet[JournalLine]":
    """All that the order, its payment and refunds went through; staff also see every attempt in vain."""
    lines = JournalLine.objects.filter(order_id=order_id).order_by("id")
    return lines if for_staff else lines.filter(is_internal=False)
