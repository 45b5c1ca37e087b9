"""What a pass over an endpoint sends: its deliveries that are due, and the next events of the feed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Max, QuerySet
from structlog import get_logger

from shop import clock
from shop.event_feed import reading
from shop.feed_models import FeedEvent
from shop.webhook_endpoints import sending
from shop.webhook_endpoints.sending import Attempt
from shop.webhook_models import WebhookDelivery, WebhookEndpoint

log = get_logger(__name__)
PENDING, FAILED = WebhookDelivery.Status.PENDING, WebhookDelivery.Status.FAILED
MOST_DUE = 500
"""Deliveries that a pass reads."""
MOST_PENDING = 10_000
"""Of an endpoint: with so many refused events nothing more is read from the feed, which keeps what comes."""
NO_ORDER = "no order"


@dataclass(slots=True)
class Job:
    """A delivery that is to be attempted; `is_new` if it has no row yet."""

    row: WebhookDelivery
    payload: dict[str, Any]
    order_key: UUID | str
    is_new: bool
    attempt: Attempt | None = None
    is_changed: bool = False


@dataclass(slots=True)
class DeliveryBatch:
    """What a pass over an endpoint does: jobs by order, each in sequence, and the position afterwards."""

    jobs_by_order: dict[UUID | str, list[Job]] = field(default_factory=lambda: defaultdict(list))
    blocked: list[Job] = field(default_factory=list)
    position: int = 0
    has_more: bool = False

    def jobs(self) -> list[Job]:
        return [job for jobs in self.jobs_by_order.values() for job in jobs]


def read(endpoint: WebhookEndpoint, *, limit: int) -> DeliveryBatch:
    """What is due of the pending deliveries, and the next events, unless too many are pending.

    `limit` is how many orders of the former are taken, and how many of the latter, those due the longest
    first. Of those whose last request got no answer one is tried; after a pass without any answer one order,
    an untried one if there is one. So neither a receiver that hangs nor an event that makes it hang holds up
    what it would take.
    """
    now, batch = clock.now(), DeliveryBatch(position=endpoint.position)
    pending = WebhookDelivery.objects.filter(endpoint=endpoint, status=PENDING)
    count = pending[:MOST_PENDING].count()
    if not count:
        # As with most endpoints at most times: nothing more is asked of the table.
        pending = pending.none()
    due = list(pending.filter(next_attempt_at__lte=now).order_by("next_attempt_at", "id")[:MOST_DUE])
    orders = {row.order_id for row in due if row.order_id}
    # An earlier event of the same order may not be due yet.
    rows = {row.pk: row for row in (*due, *pending.filter(order_id__in=orders))}
    waiting = _add_pending(batch, [rows[pk] for pk in sorted(rows)], now)
    is_probe = endpoint.failures > 0
    tried = _choose(batch, limit, is_probe=is_probe)
    for key in batch.jobs_by_order.keys() - set(tried):
        waiting[key] = now
        batch.has_more = True
    batch.jobs_by_order = defaultdict(list, {key: batch.jobs_by_order[key] for key in tried})
    needs_another = not any(jobs[0].row.attempts == 0 for jobs in batch.jobs_by_order.values())
    if count < MOST_PENDING and (not is_probe or needs_another):
        _read_feed(endpoint, batch, pending, waiting, now, limit=1 if is_probe else limit)
    return batch


def _choose(batch: DeliveryBatch, limit: int, *, is_probe: bool) -> list[UUID | str]:
    """The orders that a pass tries, in the order in which it begins them."""
    first = {key: jobs[0].row for key, jobs in batch.jobs_by_order.items()}
    by_instant = sorted(first, key=lambda key: (first[key].next_attempt_at, first[key].pk))
    if is_probe:
        return sorted(by_instant, key=lambda key: first[key].attempts)[:1]
    is_unanswered = {key: row.attempts > 0 and row.response_status is None for key, row in first.items()}
    unanswered = [key for key in by_instant if is_unanswered[key]]
    others = [key for key in by_instant if not is_unanswered[key]]
    # First, so that the other threads send the rest while this one waits.
    return [*unanswered[:1], *others][:limit]


def _add_pending(
    batch: DeliveryBatch, pending: Sequence[WebhookDelivery], now: datetime
) -> dict[UUID | str, datetime]:
    """Add the deliveries of orders whose first one is due. Returns when those of the other orders are."""
    found = FeedEvent.objects.filter(position__in=[row.position for row in pending if row.position])
    events = {event.position: event for event in found}
    waiting: dict[UUID | str, datetime] = {}
    for row in pending:
        event = events.get(row.position)
        payload: dict[str, Any] | None = row.payload
        if payload is None and event is not None:
            payload = sending.body_of(event)
        key = _order_key(row)
        if payload is None:
            # The event was deleted after the retention; that is longer than anything is tried.
            row.status, row.next_attempt_at = FAILED, None
            row.error = "the event was deleted before it was delivered"
            batch.blocked.append(Job(row, {}, key, is_new=False, is_changed=True))
        elif key in waiting:
            # It is due when the first one of its order is.
            row.next_attempt_at = waiting[key]
            batch.blocked.append(Job(row, payload, key, is_new=False, is_changed=True))
        elif key not in batch.jobs_by_order and row.next_attempt_at is not None and row.next_attempt_at > now:
            waiting[key] = row.next_attempt_at
        else:
            batch.jobs_by_order[key].append(Job(row, payload, key, is_new=False))
    return waiting


def _read_feed(
    endpoint: WebhookEndpoint,
    batch: DeliveryBatch,
    pending: "QuerySet[WebhookDelivery]",
    waiting: dict[UUID | str, datetime],
    now: datetime,
    *,
    limit: int,
) -> None:
    """Add the next events of the feed. One of an order that waits is due when the order's first one is."""
    deleted = reading.last_deleted_position()
    if endpoint.position < deleted:
        log.warning(
            "events were deleted before an endpoint got them",
            endpoint=str(endpoint.pk),
            positions=deleted - endpoint.position,
        )
    position = max(endpoint.position, deleted)
    page = reading.read_page(after=position, patterns=endpoint.events, limit=limit)
    orders = {event.order_id for event in page.events if event.order_id} - batch.jobs_by_order.keys()
    theirs = pending.filter(order_id__in=orders).values_list("order_id")
    waiting |= dict(theirs.annotate(due_at=Max("next_attempt_at")).order_by())
    for event in page.events:
        row = WebhookDelivery(
            endpoint=endpoint,
            position=event.position,
            event_id=event.event_id,
            order_id=event.order_id,
            type=event.type,
            status=PENDING,
            next_attempt_at=now,
            created_at=now,
        )
        key = _order_key(row)
        job = Job(row, sending.body_of(event), key, is_new=True)
        if key in waiting:
            row.next_attempt_at = waiting[key]
            batch.blocked.append(job)
        else:
            batch.jobs_by_order[key].append(job)
    batch.position, batch.has_more = page.position, batch.has_more or not page.is_end


def _order_key(row: WebhookDelivery) -> UUID | str:
    """Events with the same key are delivered in sequence."""
    return row.order_id or f"{NO_ORDER} {row.event_id}"
