"""Payments at gateways that the settings don't name any more, or whose account is another now.

No web process and no worker starts while one of them is open: it could be settled nowhere. The doctor warns
of what may still be refunded there.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from django.db import Error
from django.db.models import F
from structlog import get_logger

from foundation import starting
from orders import selectors
from payments import gateways, rows as payment_rows
from payments.models import Payment
from payments.transitions import UNSETTLED

log = get_logger(__name__)


class Unreachable(NamedTuple):
    """Why the gateway can't be reached, whether a payment is open there, and when the newest one that can be
    refunded began.
    """

    reason: str
    has_open: bool
    refundable_at: datetime | None


def find() -> Iterator[Unreachable]:
    """Each account at a gateway that can't be reached, where a payment is open or refundable."""
    for books in sorted(payment_rows.known_books()):
        if not (reason := gateways.lacking(books)):
            continue
        payments = Payment.objects.filter(**books._asdict(), card_amount__gt=0)
        has_open = selectors.filter_unsettled(payments, UNSETTLED).exists()
        paid = payments.filter(order__isnull=False, status=Payment.Status.SUCCEEDED)
        refundable = paid.filter(card_amount__gt=F("refunded_amount")).order_by("-created_at")
        newest_at = refundable.values_list("created_at", flat=True).first()
        if has_open or newest_at:
            yield Unreachable(reason, has_open, newest_at)


def refuse_to_start(**_: object) -> None:
    """End this process with exit code 1 while a payment is open at a gateway that can't be reached.

    If the database can't be read, the process continues: its calls about such a payment have no answer.
    """
    try:
        reasons = [one.reason for one in find() if one.has_open]
    except Error as error:
        log.warning("the payments' gateways can't be read at the start", error=error)
        return
    if reasons:
        starting.refuse(f"payments are open at a gateway that is not configured: {'; '.join(reasons)}.")
