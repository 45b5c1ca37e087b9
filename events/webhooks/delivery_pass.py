"""The work of one endpoint: its due deliveries, and the next events of the feed, in order per order.

What was sent is recorded by one transaction with the endpoint's position; a worker that dies in between sends
the same events again, with the same ids. To the data platform an event that was given up holds back the later
ones of its order, until it is sent again.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Executor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import accumulate
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import DatabaseError
from django.db.models import QuerySet
from prometheus_client import Counter
from structlog import get_logger

from events.feed import reading
from events.models import WebhookDelivery, WebhookEndpoint
from events.webhooks import data_platform, endpoints, sending
from events.webhooks.sending import Attempt
from shop import clock
from shop.db import bulk_sql, transactions
from shop.observability import logs
from shop.outbound import backoff

log = get_logger(__name__)
Status = WebhookDelivery.Status
ATTEMPTS = Counter(
    "firstcome_webhook_attempts", "Requests to webhook endpoints, by the outcome.", ["outcome"]
)
EVENTS_SENT = Counter(
    "firstcome_event_deliveries", "Events that were sent to the data platform, by the outcome.", ["outcome"]
)
for _outcome in ("delivered", "failed", "given_up"):
    # At 0 from the start, so that the first of each is an increase.
    ATTEMPTS.labels(_outcome)
SENDING_AT_ONCE = 4
"""Requests to one endpoint."""
MOST_EVENTS = 100
"""The orders of which a pass takes what is due, and the events that it takes from the feed."""
MOST_DUE = 500
"""Deliveries that a pass reads, and events that it sends to the data platform at once."""
MOST_REFUSED = 100
"""Events that it refused before, which a pass sends to the data platform one by one."""
MOST_PENDING = 10_000
"""Of an endpoint: with so many nothing more is read from the feed, which keeps what comes. Events that the
data platform refuses for good don't count, nor what waits behind them."""
PASS_SECONDS, LOOK_SECONDS = 15.0, 1.0
"""How long requests of a pass begin, and how often it looks whether the endpoint was changed."""
LEASE_SECONDS = 30
"""How long a worker has an endpoint without renewing that: before each pass, and within one."""
FEWEST_ATTEMPTS = 5
"""Even an old event has so many, because it may have waited for others."""
BEHIND_DEAD = timedelta(seconds=backoff.LONGEST_SECONDS)
"""After which it is looked at again whether an event that was given up still holds others back."""
LONGEST_REST_SECONDS = 5.0
"""Of the data platform after a pass without any answer: there is one, and its events are looked for."""


@dataclass(slots=True)
class Job:
    """A delivery that is to be attempted; a new one has no key yet."""

    row: WebhookDelivery
    payload: dict[str, Any]
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


class LeaseLost(Exception):
    """Another worker has the endpoint's lease, it was changed, or is gone: nothing was recorded, and what was
    sent is sent again.
    """


def run(endpoint: WebhookEndpoint, *, pool: Executor, stop: threading.Event | None = None) -> bool:
    """Deliver what is due and the next events, once. Returns whether there is more to do at once.

    An endpoint whose owner lost the right to read events gets none, and is disabled. Once `stop` is set
    nothing more is sent. The caller has the endpoint's lease. Raises `LeaseLost`.
    """
    if why := endpoints.lost_right(endpoint):
        by, now = WebhookEndpoint.DisabledBy.RIGHTS, clock.now()
        transactions.run(
            lambda: endpoints.disable(endpoint, by=by, error=why, at=now), transactions.REPEATABLE
        )
        return False
    batch, stop = _read(endpoint), stop or threading.Event()
    if endpoint.is_built_in:
        _send_together(batch, stop=stop)
    else:
        _send_all(endpoint, batch, pool=pool, stop=stop)
    now = clock.now()
    for jobs in batch.jobs_by_order.values():
        _apply_all(endpoint, jobs, now)
    transactions.run(partial(_record, endpoint, batch, now), transactions.ONCE)
    _count(endpoint, batch.jobs())
    return batch.has_more


def _read(endpoint: WebhookEndpoint) -> DeliveryBatch:
    """What is due of the pending deliveries, and the next events, unless too many are pending.

    Of those whose last request got no answer one is tried; after a pass without any answer one order,
    an untried one if there is one. So neither a receiver that hangs nor an event that makes it hang holds up
    what it would take.
    """
    now, batch = clock.now(), DeliveryBatch(position=endpoint.position)
    pending = WebhookDelivery.objects.filter(endpoint=endpoint, status=Status.PENDING)
    if not pending.exists():
        # As with most endpoints at most times: nothing more is asked of the table.
        pending = pending.none()
    due_rows = pending.filter(next_attempt_at__lte=now).order_by("next_attempt_at", "id")
    failing = pending
    due = list(due_rows[:MOST_DUE])
    if endpoint.is_built_in:
        # However many it refuses, or wait behind those: it gets the others.
        failing = pending.filter(refused_at=None, attempts__gt=0)
        refused = due_rows.exclude(refused_at=None)[:MOST_REFUSED]
        due = [*due_rows.filter(refused_at=None)[:MOST_DUE], *refused]
    orders = {row.order_id for row in due if row.order_id}
    # An earlier event of the same order may not be due yet.
    rows = {row.pk: row for row in (*due, *_of_orders(endpoint, orders))}
    waiting = _add_pending(batch, [rows[pk] for pk in sorted(rows)], now)
    is_probe = endpoint.failures > 0
    tried = _choose(batch, is_probe=is_probe, is_together=endpoint.is_built_in)
    for key in batch.jobs_by_order.keys() - set(tried):
        waiting[key] = now
        batch.has_more = True
    batch.jobs_by_order = defaultdict(list, {key: batch.jobs_by_order[key] for key in tried})
    needs_another = not any(jobs[0].row.attempts == 0 for jobs in batch.jobs_by_order.values())
    together = [job for job in batch.jobs() if not job.row.refused_at]
    room = max(0, MOST_DUE - len(together)) if endpoint.is_built_in else MOST_EVENTS
    limit = min(room, 1) if is_probe else room
    if limit and failing[:MOST_PENDING].count() < MOST_PENDING and (not is_probe or needs_another):
        _read_feed(endpoint, batch, waiting, now, limit=limit)
    return batch


def _of_orders(endpoint: WebhookEndpoint, order_ids: Collection[UUID]) -> "QuerySet[WebhookDelivery]":
    """What is pending of these orders, and of the data platform what was given up: read by one statement, for
    an operator may have that sent again at any time.
    """
    statuses = [Status.PENDING, *([Status.FAILED] if endpoint.is_built_in else [])]
    return WebhookDelivery.objects.filter(
        endpoint=endpoint, status__in=statuses, order_id__in=list(order_ids)
    ).order_by("id")


def _choose(batch: DeliveryBatch, *, is_probe: bool, is_together: bool) -> list[UUID | str]:
    """The orders that a pass tries, in the order in which it begins them."""
    first = {key: jobs[0].row for key, jobs in batch.jobs_by_order.items()}
    by_instant = sorted(first, key=lambda key: (first[key].next_attempt_at, first[key].pk))
    if is_probe:
        return sorted(by_instant, key=lambda key: first[key].attempts)[:1]
    if is_together:
        counts = accumulate(len(batch.jobs_by_order[key]) for key in by_instant)
        return [key for key, count in zip(by_instant, counts, strict=True) if count <= MOST_DUE]
    unanswered = [key for key in by_instant if first[key].attempts and first[key].response_status is None]
    hanging = set(unanswered)
    others = [key for key in by_instant if key not in hanging]
    # First, so that the other threads send the rest while this one waits.
    return [*unanswered[:1], *others][:MOST_EVENTS]


def _add_pending(
    batch: DeliveryBatch, rows: Sequence[WebhookDelivery], now: datetime
) -> dict[UUID | str, datetime]:
    """Add the deliveries of orders whose first one is due. Returns when those of the other orders are: behind
    one that was given up, not before that is sent again.
    """
    waiting: dict[UUID | str, datetime] = {}
    for row in rows:
        key = _order_key(row)
        if row.status == Status.FAILED:
            waiting[key] = now + BEHIND_DEAD
        elif key in waiting:
            # It is due when the first one of its order is.
            row.next_attempt_at = waiting[key]
            batch.blocked.append(Job(row, row.payload or {}, is_changed=True))
        elif key not in batch.jobs_by_order and row.next_attempt_at is not None and row.next_attempt_at > now:
            waiting[key] = row.next_attempt_at
        elif row.payload is None:
            row.status, row.next_attempt_at, row.error = Status.FAILED, None, "the event is missing"
            batch.blocked.append(Job(row, {}, is_changed=True))
        else:
            batch.jobs_by_order[key].append(Job(row, row.payload))
    return waiting


def _read_feed(
    endpoint: WebhookEndpoint,
    batch: DeliveryBatch,
    waiting: dict[UUID | str, datetime],
    now: datetime,
    *,
    limit: int,
) -> None:
    """Add the next events of the feed. One of an order that waits is due when the order's first one is."""
    deleted = reading.read_state().swept_position
    if endpoint.position < deleted:
        log.warning(
            "events were deleted before an endpoint got them",
            endpoint=str(endpoint.pk),
            positions=deleted - endpoint.position,
        )
    page = reading.read_page(after=max(endpoint.position, deleted), patterns=endpoint.events, limit=limit)
    for before in _of_orders(endpoint, {event.order_id for event in page.events if event.order_id}):
        key, is_given_up = _order_key(before), before.status == Status.FAILED
        if is_given_up or key not in batch.jobs_by_order:
            due_at = now + BEHIND_DEAD if is_given_up else before.next_attempt_at or now
            waiting[key] = max(waiting.get(key, now), due_at)
    for event in page.events:
        row = WebhookDelivery(
            endpoint=endpoint,
            position=event.position,
            event_id=event.event_id,
            order_id=event.order_id,
            type=event.type,
            status=Status.PENDING,
            next_attempt_at=now,
            created_at=event.at if endpoint.is_built_in else now,
        )
        key = _order_key(row)
        job = Job(row, sending.body_of(event))
        if key in waiting:
            row.next_attempt_at = waiting[key]
            batch.blocked.append(job)
        else:
            batch.jobs_by_order[key].append(job)
    batch.position, batch.has_more = page.cursor.position, batch.has_more or not page.is_end


def _order_key(row: WebhookDelivery) -> UUID | str:
    """Events with the same key are delivered in sequence."""
    return row.order_id or f"no order {row.event_id}"


def _send_all(
    endpoint: WebhookEndpoint, batch: DeliveryBatch, *, pool: Executor, stop: threading.Event
) -> None:
    """Send to the endpoint, for `PASS_SECONDS` and the requests under way, unless it changes meanwhile.

    Of an order the next event is sent once the one before it was accepted. As many requests in a row without
    any answer as run at once end the pass: the rest is left to a later one.
    """
    # The threads share the iterator: each takes an order that no other has, until none is left.
    orders, is_over = iter([*batch.jobs_by_order.values()]), threading.Event()
    latest: deque[int | None] = deque(maxlen=SENDING_AT_ONCE)

    def work() -> None:
        for jobs in orders:
            for job in jobs:
                if is_over.is_set() or stop.is_set():
                    return
                job.attempt = sending.send(endpoint, id=str(job.row.event_id), payload=job.payload)
                latest.append(job.attempt.response_status)
                if latest.count(None) == SENDING_AT_ONCE:
                    is_over.set()
                if not job.attempt.is_delivered:
                    break

    ends_at = time.monotonic() + PASS_SECONDS
    renew_at = time.monotonic() + LEASE_SECONDS / 3
    futures = [pool.submit(work) for _ in range(min(SENDING_AT_ONCE, len(batch.jobs_by_order)))]
    try:
        while wait(futures, timeout=LOOK_SECONDS).not_done:
            if time.monotonic() > ends_at or _is_changed(endpoint):
                is_over.set()
            if time.monotonic() > renew_at:
                # A request may take as long as a lease.
                renew_at = time.monotonic() + LEASE_SECONDS / 3
                until = clock.now() + timedelta(seconds=LEASE_SECONDS)
                leased = WebhookEndpoint.objects.filter(pk=endpoint.pk, lease_token=endpoint.lease_token)
                with suppress(DatabaseError):  # `_record` sees whether the lease is lost
                    leased.update(leased_until=until)
        for future in futures:
            future.result()
    finally:
        is_over.set()


def _send_together(batch: DeliveryBatch, *, stop: threading.Event) -> None:
    """Send all to the data platform by one request; if that is refused for good, one event after the other,
    to find those that are. Orders with such an event are tried by themselves at once.
    """
    jobs = sorted(batch.jobs(), key=lambda job: job.row.position or 0)
    refused = {_order_key(job.row) for job in jobs if job.row.refused_at}
    together = [job for job in jobs if _order_key(job.row) not in refused]
    if together:
        attempt = data_platform.send([job.payload for job in together])
        if attempt.is_final:
            refused = {_order_key(job.row) for job in jobs}
        else:
            for job in together:
                job.attempt = attempt
            if not attempt.is_delivered:
                return
    ends_at, blocked = time.monotonic() + PASS_SECONDS, set[UUID | str]()
    for job in jobs:
        key = _order_key(job.row)
        if key not in refused or key in blocked:
            continue
        if time.monotonic() > ends_at or stop.is_set():
            batch.has_more = True
            return
        job.attempt = data_platform.send([job.payload])
        if job.attempt.is_final:
            blocked.add(key)
        elif not job.attempt.is_delivered:
            return


def _is_changed(endpoint: WebhookEndpoint) -> bool:
    """Whether it was changed, disabled or deleted, or its lease or its owner's right lost, meanwhile."""
    row = WebhookEndpoint.objects.filter(pk=endpoint.pk).first()
    if row is None or row.disabled_at is not None or not _has_terms_of(row, endpoint):
        return True
    return bool(endpoints.lost_right(row))


def _has_terms_of(row: WebhookEndpoint, endpoint: WebhookEndpoint) -> bool:
    """Whether the row still has the lease, the address and the types with which the pass began."""
    return (row.lease_token, row.url, row.events) == (endpoint.lease_token, endpoint.url, endpoint.events)


def _record(endpoint: WebhookEndpoint, batch: DeliveryBatch, now: datetime) -> None:
    """Write what came of each delivery, and the endpoint's position. Raises `LeaseLost`."""
    row = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
    if row is None or not _has_terms_of(row, endpoint):
        raise LeaseLost
    jobs = [*batch.jobs(), *batch.blocked]
    # Their keys stay unset: if the transaction is repeated, they are new again.
    new = [job for job in jobs if job.row.pk is None]
    for job in new:
        if job.row.status != Status.DELIVERED:
            # As the insert writes it.
            job.row.payload = orjson.dumps(job.payload, option=orjson.OPT_UTC_Z).decode()
    if new:
        bulk_sql.insert_objects([job.row for job in new])
    WebhookDelivery.objects.bulk_update(
        [job.row for job in jobs if job.row.pk is not None and job.is_changed],
        ["status", "attempts", "next_attempt_at", "response_status", "refused_at", "error", "delivered_at"],
    )
    _record_health(row, [job.attempt for job in jobs if job.attempt], now)
    row.position = batch.position
    row.save(update_fields=["position", "failing_since", "failures", "next_attempt_at"])


def _apply_all(endpoint: WebhookEndpoint, jobs: Iterable[Job], now: datetime) -> None:
    """Set the columns of an order's deliveries; those after one that failed are due when that is."""
    due_at: datetime | None = None
    for job in jobs:
        if job.attempt:
            _apply(endpoint, job.row, job.attempt, now)
            due_at = None if job.attempt.is_delivered else (job.row.next_attempt_at or now)
        elif due_at:
            job.row.next_attempt_at = due_at
        job.is_changed = bool(job.attempt or due_at)


def _apply(endpoint: WebhookEndpoint, row: WebhookDelivery, attempt: Attempt, now: datetime) -> None:
    row.attempts += 1
    # The rest of the answer may differ each time.
    is_same = row.response_status == attempt.response_status
    row.refused_at = ((is_same and row.refused_at) or now) if attempt.is_final else None
    row.response_status, row.error = attempt.response_status, attempt.error[:255]
    if attempt.is_delivered:
        row.status, row.next_attempt_at, row.delivered_at = Status.DELIVERED, None, now
    elif row.refused_at and now - row.refused_at >= timedelta(seconds=settings.EVENT_REFUSED_SECONDS):
        row.status, row.next_attempt_at = Status.FAILED, None
    elif row.attempts >= FEWEST_ATTEMPTS and _is_given_up(endpoint, row.created_at, now):
        row.status, row.next_attempt_at = Status.FAILED, None
        if endpoint.is_built_in:
            row.error = f"given up: {row.error}"[:255]
    else:
        row.next_attempt_at = now + timedelta(seconds=backoff.pause_seconds(row.attempts))


def _is_given_up(endpoint: WebhookEndpoint, since: datetime, now: datetime) -> bool:
    most = settings.EVENT_GIVE_UP_SECONDS if endpoint.is_built_in else settings.WEBHOOK_GIVE_UP_SECONDS
    return (now - since).total_seconds() > most


def _record_health(row: WebhookEndpoint, attempts: Sequence[Attempt], now: datetime) -> None:
    """Note since when nothing is delivered, and disable an endpoint of a program after
    `WEBHOOK_GIVE_UP_SECONDS` of that. After a pass without any answer it rests, longer and longer.
    """
    if row.disabled_at is not None:
        return
    failed = [attempt for attempt in attempts if not attempt.is_delivered]
    if len(failed) < len(attempts):
        row.failing_since, row.failures, row.next_attempt_at = None, 0, None
    elif failed:
        row.failing_since = row.failing_since or now
        has_answered = any(attempt.response_status for attempt in failed)
        row.failures = 0 if has_answered else row.failures + 1
        seconds = backoff.pause_seconds(max(1, row.failures))
        rest = timedelta(seconds=min(seconds, LONGEST_REST_SECONDS) if row.is_built_in else seconds)
        row.next_attempt_at = None if has_answered else now + rest
        if not row.is_built_in and _is_given_up(row, row.failing_since, now):
            endpoints.disable(row, by=WebhookEndpoint.DisabledBy.FAILURES, error=failed[-1].error, at=now)


def _count(endpoint: WebhookEndpoint, jobs: Iterable[Job]) -> None:
    """Count the attempts by their outcomes, and log what the data platform refuses."""
    refused = list[Job]()
    for job in jobs:
        if not job.attempt:
            continue
        is_given_up = job.row.status == Status.FAILED
        if not endpoint.is_built_in:
            outcome = "delivered" if job.attempt.is_delivered else "given_up" if is_given_up else "failed"
            ATTEMPTS.labels(outcome).inc()
            continue
        outcome = "delivered" if job.attempt.is_delivered else "refused" if job.row.refused_at else "failed"
        EVENTS_SENT.labels("dead" if is_given_up else outcome).inc()
        if is_given_up:
            with logs.bound_to(partial(_ids, job.row)):
                log.error("event is dead: see replay_events", what=job.row.type, error=job.row.error)
        elif job.row.refused_at:
            refused.append(job)
    if refused:
        with logs.bound_to(lambda: logs.merge_ids([_ids(job.row) for job in refused])):
            log.warning(
                "events are refused; they are retried", events=len(refused), error=refused[-1].row.error
            )


def _ids(row: WebhookDelivery) -> dict[str, str]:
    """The ids of an event, by the keys of log lines."""
    return {"event_id": str(row.event_id)} | ({"order": str(row.order_id)} if row.order_id else {})
