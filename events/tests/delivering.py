"""Events for the data platform, and what a worker's dispatcher does with them, without its threads."""

from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch
from uuid import UUID

import orjson
from django.test import override_settings
from django.utils import timezone
from uuid_utils.compat import uuid7

from events.feed import recording, sequencing
from events.feed.recording import NewEvent
from events.models import BUILT_IN, WebhookDelivery, WebhookEndpoint
from events.webhooks import data_platform, dispatcher, endpoints, ranges, sending
from foundation import clock
from foundation.db import transactions

NOWHERE = "http://127.0.0.1:1"


def note(*types: str, order_id: UUID | None = None) -> list[str]:
    """Record events in a transaction of their own, which the data platform is to get; returns their ids."""
    data = orjson.dumps({"order": str(order_id)}).decode()
    events = [NewEvent(uuid7(), type, order_id, clock.now(), data) for type in types]
    transactions.run(lambda: recording.record_all(events), transactions.ONCE)
    # Of every type, those of tests too.
    endpoints.find().filter(pk=BUILT_IN).update(events=["*"])
    return [str(event.event_id) for event in events]


def deliver_due(worker="worker") -> int:
    """Do what is due for the data platform, as a worker does until nothing is; how much was delivered."""
    endpoints.find()
    sequencing.sequence()
    before = delivered_count()
    with ThreadPoolExecutor(1) as pool:
        while dispatcher.deliver_due(BUILT_IN, worker, pool=pool):
            pass
    dispatcher.release(BUILT_IN, worker)
    return delivered_count() - before


def deliver_to_nobody() -> int:
    """Do what is due while the data platform refuses connections."""
    with override_settings(DATA_PLATFORM_URL=NOWHERE):
        return deliver_due()


def deliver_all():
    """As if a data platform had accepted all events."""
    with patch.object(data_platform, "send", lambda events: sending.Attempt(200, "")):
        deliver_due()


def logged_to(endpoint_id: UUID) -> list[WebhookDelivery]:
    """All deliveries to an endpoint in the sequence of the events, with ranges opened."""
    rows = WebhookDelivery.objects.filter(endpoint=endpoint_id)
    opened = [*ranges.walk(rows)]
    # Tests and notices have no position.
    return sorted(opened, key=lambda row: (row.position or 0, row.pk))


def delivered_count() -> int:
    """How many events were delivered; one that was sent again counts anew."""
    rows = WebhookDelivery.objects.filter(endpoint=BUILT_IN, status="delivered")
    numbers = [attempts if first else 1 for first, attempts in rows.values_list("first_position", "attempts")]
    return sum(numbers)


def delivery(event: str) -> WebhookDelivery:
    [found] = [row for row in logged_to(BUILT_IN) if str(row.event_id) == event]
    return found


def make_due(*events: str):
    """As if the pauses before the next attempts at these events, or all, were over."""
    rows = WebhookDelivery.objects.filter(endpoint=BUILT_IN, status="pending")
    (rows.filter(event_id__in=events) if events else rows).update(next_attempt_at=timezone.now())
    WebhookEndpoint.objects.filter(pk=BUILT_IN).update(next_attempt_at=None)


def statuses() -> list[str]:
    """Of all deliveries to the data platform, in the sequence of the events."""
    return [row.status for row in logged_to(BUILT_IN)]


def logged(status: str, *, number: int, **columns):
    """Fill the log with so many deliveries to the data platform."""
    endpoints.find()
    columns |= {"endpoint_id": BUILT_IN, "type": "order.paid", "status": status, "created_at": timezone.now()}
    WebhookDelivery.objects.bulk_create(WebhookDelivery(event_id=uuid7(), **columns) for _ in range(number))


def dead(type="order.paid", **columns) -> WebhookDelivery:
    """A delivery that was given up, but for these columns."""
    endpoints.find()
    id, now = uuid7(), timezone.now()
    payload = {"id": str(id), "type": type, "at": now.isoformat(), "data": {}}
    event = {"endpoint_id": BUILT_IN, "event_id": id, "type": type, "payload": payload, "created_at": now}
    given_up: dict[str, object] = {"status": "failed", "attempts": 7, "error": "HTTP 422 no"}
    return WebhookDelivery.objects.create(**event | given_up | columns)
