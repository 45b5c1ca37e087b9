"""Events that gateways send: each is taken in once, and worked on until it is handled.

An event is verified, stored and thanked for. What it means is found out afterwards, by asking the gateway,
so nothing that it says has to be believed, and it may come late, twice, in any order or never.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db.models import F
from structlog import get_logger

from payments import gateways
from payments.gateways.contract import GatewayEvent
from payments.models import WebhookEvent
from shop import clock
from shop.db import transactions
from shop.errors import NotFound
from shop.outbound import backoff

log = get_logger(__name__)
# The edge has it handled at once; the sweeper looks after what a crash forgot to enqueue.
HANDLING_SECONDS = 10
# Gateways send an event again for some days; after that its id need not be known any more.
RETENTION = timedelta(days=90)
SWEEP_BATCH = 1_000


def receive(*, gateway: str, headers: Mapping[str, str], body: bytes) -> WebhookEvent | None:
    """Store what the gateway says has happened; the same event again is the one that was stored first.

    Durable when it returns. None for what is signed but no event: sent again, it would be none again.
    Raises `NotFound` for a gateway that nobody knows, and `SignatureInvalid`.
    """
    if gateway not in gateways.GATEWAYS:
        raise NotFound(f"There is no gateway {gateway!r}.")
    now = clock.now()
    gateway_event = gateways.GATEWAYS[gateway]().event(headers=headers, body=body, now=now)
    if gateway_event is None:
        log.warning("webhook that is no event", gateway=gateway, size=len(body))
        return None
    return transactions.run(lambda: _store(gateway, gateway_event, now), transactions.KEYED)


def dequeue_due(*, limit: int) -> list[int]:
    """The events that are to be worked on now; each is told once in a while."""
    now = clock.now()
    ids = list(
        WebhookEvent.objects.filter(next_attempt_at__lte=now)
        .order_by("next_attempt_at")
        .values_list("id", flat=True)[:limit]
    )
    later = now + timedelta(seconds=HANDLING_SECONDS)
    told = WebhookEvent.objects.filter(id__in=ids, next_attempt_at__lte=now)
    # Whoever handles one comes to the same rows and their index from the other side: that may deadlock.
    transactions.run(lambda: told.update(next_attempt_at=later), transactions.REPEATABLE)
    return ids


def get_unhandled(event_id: int) -> WebhookEvent | None:
    """The event, while there is something left to do about it."""
    return WebhookEvent.objects.filter(id=event_id, handled_at__isnull=True).first()


def finish(event: WebhookEvent, outcome: str) -> None:
    """Nothing is left to do about the event; `outcome` says what came of it."""
    _update_unhandled(event, handled_at=clock.now(), next_attempt_at=None, outcome=outcome[:255])


def postpone(event: WebhookEvent, reason: str) -> None:
    """Work on the event again later: after a second at first, and five minutes apart at last."""
    pause = timedelta(seconds=backoff.pause_seconds(event.attempts + 1))
    _update_unhandled(
        event, attempts=F("attempts") + 1, next_attempt_at=clock.now() + pause, outcome=reason[:255]
    )


def unhandled_count() -> int:
    """How many events are still to be worked on."""
    return WebhookEvent.objects.filter(next_attempt_at__isnull=False).count()


def sweep() -> int:
    """Forget the events that were handled and came long ago, the oldest first. Returns how many."""
    gone = 0
    while bite := _expired_ids():
        transactions.run(WebhookEvent.objects.filter(id__in=bite).delete, transactions.REPEATABLE)
        gone += len(bite)
    return gone


def _expired_ids() -> list[int]:
    """Ids go by age, so a look at the first rows is enough, and needs no index."""
    oldest = WebhookEvent.objects.order_by("id").values_list("id", "handled_at", "received_at")[:SWEEP_BATCH]
    limit = clock.now() - RETENTION
    return [id for id, handled_at, received_at in oldest if handled_at and received_at < limit]


def _store(gateway: str, gateway_event: GatewayEvent, now: datetime) -> WebhookEvent:
    event, is_new = WebhookEvent.objects.get_or_create(
        gateway=gateway,
        event_id=gateway_event.id,
        defaults={
            "type": gateway_event.type,
            "charge_key": gateway_event.key,
            "received_at": now,
            "next_attempt_at": now + timedelta(seconds=HANDLING_SECONDS),
        },
    )
    log.info(
        "webhook",
        gateway=gateway,
        event_id=gateway_event.id,
        type=gateway_event.type,
        key=gateway_event.key,
        is_new=is_new,
    )
    return event


def _update_unhandled(event: WebhookEvent, **fields: object) -> None:
    """Two who work on one event do no harm; the first to finish it has the last word."""
    rows = WebhookEvent.objects.filter(id=event.id, handled_at__isnull=True)
    transactions.run(lambda: rows.update(**fields), transactions.REPEATABLE)
