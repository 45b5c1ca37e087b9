"""The log of what is delivered to the data platform, in the shape of an endpoint's deliveries: lines of the
journal, by whose state `shop.events.outbox` delivers them.
"""

import re

from django.db.models import QuerySet

from shop.errors import NotFound
from shop.events import requeuing
from shop.lazy_texts import mark as _
from shop.models import JournalLine
from shop.webhook_models import BUILT_IN, WebhookDelivery

Status, Delivery = WebhookDelivery.Status, JournalLine.Delivery
STATUSES = {
    Delivery.QUEUED: Status.PENDING,
    Delivery.DELIVERED: Status.DELIVERED,
    Delivery.DEAD: Status.FAILED,
}
DELIVERIES = {status: delivery for delivery, status in STATUSES.items()}
HTTP_ERROR = re.compile(r"HTTP (\d{3})\b")


def find(*, status: str = "") -> "QuerySet[JournalLine]":
    """The events, with this status, as a delivery's."""
    chosen = [DELIVERIES[Status(status)]] if status else list(STATUSES)
    return JournalLine.objects.filter(delivery__in=chosen)


def as_delivery(line: JournalLine) -> WebhookDelivery:
    """An event of the journal as a delivery, which is not saved. Its `error` is that of the last attempt."""
    assert line.event_id is not None, "each event has an id"
    status = STATUSES[Delivery(line.delivery)]
    error = "" if status == Status.DELIVERED else line.last_error
    refused = HTTP_ERROR.match(error)
    return WebhookDelivery(
        pk=line.pk,
        endpoint_id=BUILT_IN,
        event_id=line.event_id,
        order_id=line.order_id,
        type=line.what,
        status=status,
        attempts=line.attempts,
        next_attempt_at=line.next_attempt_at,
        response_status=int(refused[1]) if refused else None,
        error=error,
        created_at=line.at,
        delivered_at=line.delivered_at,
    )


def resend(*, line_id: int, reason: str) -> WebhookDelivery:
    """Send an event again at once, with the same id, one that was delivered or is dead too.

    Durable on return. Raises `NotFound`: an event of an archived month is in that month's file.
    """
    sent = requeuing.resend([line_id], reason=reason) if find().filter(pk=line_id).exists() else []
    if not sent:
        raise NotFound(_("There is no delivery {id} of this endpoint.", id=line_id))
    return as_delivery(sent[0])
