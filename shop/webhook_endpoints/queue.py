"""The work of one endpoint: its pending deliveries, then the next events of the feed, in order per order.

A worker has the endpoint's lease while it does it. What it sent is recorded by one transaction, together with
the endpoint's position; a worker that dies in between sends the same events again, with the same ids.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Max, QuerySet
from prometheus_client import Counter

from shop import clock
from shop.db import transactions
from shop.event_feed import reading
from shop.feed_models import FeedEvent
from shop.outbound import backoff
from shop.webhook_endpoints import endpoints, sending
from shop.webhook_endpoints.sending import Attempt
from shop.webhook_models import WebhookDelivery, WebhookEndpoint

PENDING, DELIVERED, FAILED = (
    WebhookDelivery.Status.PENDING,
    WebhookDelivery.Status.DELIVERED,
    WebhookDelivery.Status.FAILED,
)
ATTEMPTS = Counter(
    "firstcome_webhook_attempts", "Requests to webhook endpoints, by the outcome.", ["outcome"]
)
for _outcome in ("delivered", "failed", "given_up"):
    # At 0 from the start, so that the first of each is an increase.
    ATTEMPTS.labels(_outcome)
EVENTS_AT_ONCE = 50
MOST_DUE = 500
"""Deliveries that a pass reads."""
MOST_PENDING = 10_000
"""Of an endpoint: with so many refused events nothing more is read from the feed, which keeps what comes."""
NO_ORDER = "no order"


class LeaseLost(Exception):
    """Another worker has the endpoint's lease, or it is gone: nothing was recorded."""


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
    no_answer: threading.Event = field(default_factory=threading.Event)
    """Set once a request got no answer: the rest of the pass is left to a later one."""

    def jobs(self) -> list[Job]:
        return [job for jobs in self.jobs_by_order.values() for job in jobs]


def run(endpoint: WebhookEndpoint, *, pool: Executor, send: Callable[..., Attempt] = sending.send) -> bool:
    """Deliver what is due and the next events, once. Returns whether there is more to do at once.

    The caller has the endpoint's lease. Raises `LeaseLost`.
    """
    batch = _read(endpoint)
    # The next event of an order is sent once the one before it was accepted.
    list(pool.map(partial(_send_in_sequence, endpoint, send, batch.no_answer), batch.jobs_by_order.values()))
    now = clock.now()
    for jobs in batch.jobs_by_order.values():
        _apply_all(jobs, now)
    transactions.run(partial(_record, endpoint, batch, now), transactions.ONCE)
    _count(batch.jobs())
    return batch.has_more


def _send_in_sequence(
    endpoint: WebhookEndpoint, send: Callable[..., Attempt], no_answer: threading.Event, jobs: Sequence[Job]
) -> None:
    for job in jobs:
        if no_answer.is_set():
            return
        job.attempt = send(endpoint, id=str(job.row.event_id), payload=job.payload)
        if not job.attempt.is_delivered:
            if job.attempt.response_status is None:
                no_answer.set()
            return


def _read(endpoint: WebhookEndpoint) -> DeliveryBatch:
    """What is due of the pending deliveries, and the next events, unless too many are pending.

    After a pass without any answer one order is tried, an untried one if there is one, so that neither a
    receiver that hangs nor an event that makes it hang holds up what it would take.
    """
    now, batch = clock.now(), DeliveryBatch(position=endpoint.position)
    pending = WebhookDelivery.objects.filter(endpoint=endpoint, status=PENDING)
    count = pending[:MOST_PENDING].count()
    if not count:
        # As with most endpoints at most times: nothing more is asked of the table.
        pending = pending.none()
    due = list(pending.filter(next_attempt_at__lte=now).order_by("id")[:MOST_DUE])
    orders = {row.order_id for row in due if row.order_id}
    # An earlier event of the same order may not be due yet.
    rows = {row.pk: row for row in (*due, *pending.filter(order_id__in=orders))}
    waiting = _add_pending(batch, [rows[pk] for pk in sorted(rows)], now)
    is_probe = endpoint.failures > 0
    if is_probe:
        untried_first = sorted(batch.jobs_by_order, key=lambda key: batch.jobs_by_order[key][0].row.attempts)
    else:
        untried_first = list(batch.jobs_by_order)
    for key in untried_first[1 if is_probe else EVENTS_AT_ONCE :]:
        del batch.jobs_by_order[key]
        waiting[key] = now
        batch.has_more = True
    needs_another = not any(jobs[0].row.attempts == 0 for jobs in batch.jobs_by_order.values())
    if count < MOST_PENDING and (not is_probe or needs_another):
        _read_feed(endpoint, batch, pending, waiting, now, limit=1 if is_probe else EVENTS_AT_ONCE)
    return batch


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
    position = max(endpoint.position, reading.last_deleted_position())
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


def _record(endpoint: WebhookEndpoint, batch: DeliveryBatch, now: datetime) -> None:
    """Write what came of each delivery, and the endpoint's position. Raises `LeaseLost`."""
    row = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
    if row is None or row.lease_token != endpoint.lease_token:
        raise LeaseLost
    jobs = [*batch.jobs(), *batch.blocked]
    WebhookDelivery.objects.bulk_create([job.row for job in jobs if job.is_new])
    _update(job.row for job in jobs if not job.is_new and job.is_changed)
    _record_health(row, [job.attempt for job in jobs if job.attempt], now)
    row.position = batch.position
    row.save(update_fields=["position", "failing_since", "failures", "next_attempt_at"])


def _apply_all(jobs: Iterable[Job], now: datetime) -> None:
    """Set the columns of an order's deliveries; those after one that failed are due when that is."""
    due_at: datetime | None = None
    for job in jobs:
        if job.attempt:
            _apply(job.row, job.attempt, now)
            due_at = None if job.attempt.is_delivered else (job.row.next_attempt_at or now)
        elif due_at:
            job.row.next_attempt_at = due_at
        job.is_changed = bool(job.attempt or due_at)


def _apply(row: WebhookDelivery, attempt: Attempt, now: datetime) -> None:
    row.attempts += 1
    row.response_status, row.error = attempt.response_status, attempt.error[:255]
    if attempt.is_delivered:
        row.status, row.next_attempt_at, row.delivered_at = DELIVERED, None, now
    elif (now - row.created_at).total_seconds() > settings.WEBHOOK_GIVE_UP_SECONDS:
        row.status, row.next_attempt_at = FAILED, None
    else:
        row.next_attempt_at = now + timedelta(seconds=backoff.pause_seconds(row.attempts))


def _update(rows: Iterable[WebhookDelivery]) -> None:
    WebhookDelivery.objects.bulk_update(
        list(rows), ["status", "attempts", "next_attempt_at", "response_status", "error", "delivered_at"]
    )


def _record_health(row: WebhookEndpoint, attempts: Sequence[Attempt], now: datetime) -> None:
    """Note since when nothing is delivered, and disable an endpoint after `WEBHOOK_GIVE_UP_SECONDS` of that.

    After a pass without any answer the endpoint rests, longer and longer. One that answers with errors goes
    on: each delivery has its own pauses.
    """
    failed = [attempt for attempt in attempts if not attempt.is_delivered]
    if len(failed) < len(attempts):
        row.failing_since, row.failures, row.next_attempt_at = None, 0, None
    elif failed:
        row.failing_since = row.failing_since or now
        has_answered = any(attempt.response_status for attempt in failed)
        row.failures = 0 if has_answered else row.failures + 1
        rest = timedelta(seconds=backoff.pause_seconds(max(1, row.failures)))
        row.next_attempt_at = None if has_answered else now + rest
        if (now - row.failing_since).total_seconds() > settings.WEBHOOK_GIVE_UP_SECONDS:
            endpoints.disable_failing(row, error=failed[-1].error, at=now)


def _count(jobs: Iterable[Job]) -> None:
    for job in jobs:
        if job.attempt:
            is_given_up = job.row.status == FAILED
            outcome = "delivered" if job.attempt.is_delivered else "given_up" if is_given_up else "failed"
            ATTEMPTS.labels(outcome).inc()
