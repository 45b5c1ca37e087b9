"""Webhook events of gateways: each is verified, stored once and acknowledged, and handled afterwards by
looking up the charge at the gateway: its claims are not relied on, so it may come late, twice or never.
"""

from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings
from django.db.models import F
from structlog import get_logger

from foundation import clock
from foundation.db import transactions
from foundation.errors import NotFound
from foundation.lazy_texts import mark
from foundation.outbound import backoff
from payments import gateways
from payments.models import WebhookEvent

log = get_logger(__name__)
# The edge enqueues the event at once; the sweep enqueues it again when a crash lost that.
HANDLING_SECONDS = 10
# Gateways send an event again for some days; its id is not needed for longer.
RETENTION = timedelta(days=90)
SWEEP_BATCH = 1_000


def receive(*, gateway: str, headers: Mapping[str, str], body: bytes) -> WebhookEvent | None:
    """Store the event, and return it; for a repeat of an event return the one stored first. Durable.

    None for a body that is signed but is no event: another delivery would not help. Raises `NotFound` for a
    gateway that is not configured, and `SignatureInvalid`.
    """
    if gateway not in settings.PAYMENT_GATEWAYS:
        raise NotFound(mark("There is no gateway {gateway!r}.", gateway=gateway))
    now = clock.now()
    gateway_event = gateways.read_event(gateway, headers=headers, body=body, now=now)
    if gateway_event is None:
        log.warning("webhook that is no event", gateway=gateway, size=len(body))
        return None
    event, is_new = transactions.run(
        lambda: WebhookEvent.objects.get_or_create(
            gateway=gateway,
            event_id=gateway_event.id,
            defaults={
                "type": gateway_event.type,
                "charge_key": gateway_event.key,
                "charge_reference": gateway_event.reference,
                "received_at": now,
                "next_attempt_at": now + timedelta(seconds=HANDLING_SECONDS),
            },
        ),
        transactions.KEYED,
    )
    log.info(
        "webhook",
        gateway=gateway,
        event_id=event.event_id,
        type=event.type,
        key=event.charge_key,
        is_new=is_new,
    )
    return event


def dequeue_due(*, limit: int) -> list[int]:
    """The ids of events that are due; each is returned again only after `HANDLING_SECONDS`."""
    due = WebhookEvent.objects.filter(backoff.is_due())
    ids = list(due.order_by("next_attempt_at").values_list("id", flat=True)[:limit])
    later = clock.now() + timedelta(seconds=HANDLING_SECONDS)
    taken = due.filter(id__in=ids)
    # Handling an event locks the same rows and their index in the other order: that may deadlock.
    transactions.run(lambda: taken.update(next_attempt_at=later), transactions.REPEATABLE)
    return ids


def get_unhandled(event_id: int) -> WebhookEvent | None:
    """The event, or None when it is handled."""
    return WebhookEvent.objects.filter(id=event_id, handled_at__isnull=True).first()


def note_key(event: WebhookEvent, key: str) -> None:
    """Record the key of the charge that the event names by its reference."""
    event.charge_key = key
    _update_unhandled(event, charge_key=key)


def finish(event: WebhookEvent, outcome: str) -> None:
    """Mark the event as handled; `outcome` says with which result."""
    _update_unhandled(event, handled_at=clock.now(), next_attempt_at=None, outcome=outcome[:255])


def postpone(event: WebhookEvent, reason: str) -> None:
    """Try the event again later: after a second at first, and every five minutes in the end."""
    later = backoff.retry_at(event.attempts + 1, clock.now())
    _update_unhandled(event, attempts=F("attempts") + 1, next_attempt_at=later, outcome=reason[:255])


def unhandled_count() -> int:
    """How many events are not handled yet."""
    return WebhookEvent.objects.filter(next_attempt_at__isnull=False).count()


def sweep() -> int:
    """Delete the events that are handled and older than `RETENTION`, the oldest first. Returns how many."""
    deleted = 0
    limit = clock.now() - RETENTION
    # Ids ascend with age, so this needs no index.
    rows = WebhookEvent.objects.order_by("id").values_list("id", "handled_at", "received_at")
    while chunk := [id for id, handled, received in rows.all()[:SWEEP_BATCH] if handled and received < limit]:
        transactions.run(WebhookEvent.objects.filter(id__in=chunk).delete, transactions.REPEATABLE)
        deleted += len(chunk)
    return deleted


def _update_unhandled(event: WebhookEvent, **fields: object) -> None:
    """Update the event unless it is handled: of two processes that handle it the first to finish wins."""
    rows = WebhookEvent.objects.filter(id=event.id, handled_at__isnull=True)
    transactions.run(lambda: rows.update(**fields), transactions.REPEATABLE)
