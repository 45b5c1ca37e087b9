"""Where a gateway's page leads the card's owner back to, once they have acted there."""

from uuid import UUID

from django.conf import settings

ORDER = "{order}"
"""What stands for the order's id in the address; it is empty for a top-up."""


def address(order_id: UUID | None) -> str:
    """The address of the shop's page about this order; empty where `PAYMENT_RETURN_URL` names none."""
    page: str = settings.PAYMENT_RETURN_URL
    return page.replace(ORDER, str(order_id or ""))
