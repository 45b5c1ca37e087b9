"""The work of one endpoint: its pending deliveries, then the next events of the feed, in order per order.

What was sent is recorded by one transaction with the endpoint's position; a worker that dies in between sends
the same events again, with the same ids.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, wait
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from prometheus_client import Counter

from shop import clock
from shop.db import bulk_sql, transactions
from shop.outbound import backoff
from shop.webhook_endpoints import batches, endpoints, sending
from shop.webhook_endpoints.batches import DeliveryBatch, Job
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
SENDING_AT_ONCE = 4
"""Requests to one endpoint."""
FEWEST_EVENTS, MOST_EVENTS = 50, 200
"""The events and the orders of a pass, and how many they become while passes are quick."""
QUICK_PASS_SECONDS, SLOW_PASS_SECONDS = 1.0, 3.0
PASS_SECONDS, LOOK_SECONDS = 15.0, 1.0
"""How long requests of a pass begin, and how often it looks whether the endpoint was changed."""
FEWEST_ATTEMPTS = 5
"""Even an old event has so many, because it may have waited for others."""


class LeaseLost(Exception):
    """Another worker has the endpoint's lease, it was changed, or is gone: nothing was recorded, and what was
    sent is sent again.
    """


def run(
    endpoint: WebhookEndpoint,
    *,
    pool: Executor,
    limit: int = FEWEST_EVENTS,
    stop: threading.Event | None = None,
) -> bool:
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
    batch = batches.read(endpoint, limit=limit)
    _send_all(endpoint, batch, pool=pool, stop=stop or threading.Event())
    now = clock.now()
    for jobs in batch.jobs_by_order.values():
        _apply_all(jobs, now)
    transactions.run(partial(_record, endpoint, batch, now), transactions.ONCE)
    _count(batch.jobs())
    return batch.has_more


def next_limit(limit: int, *, seconds: float) -> int:
    """The `limit` of the next pass: with more events statements cost less for each; with fewer a slow pass
    has less to send again if its worker dies.
    """
    if seconds < QUICK_PASS_SECONDS:
        return min(2 * limit, MOST_EVENTS)
    return max(limit // 2, FEWEST_EVENTS) if seconds > SLOW_PASS_SECONDS else limit


class _Requests:
    """The requests of a pass, which its threads share."""

    def __init__(self, endpoint: WebhookEndpoint, stop: threading.Event) -> None:
        self._endpoint, self._stop = endpoint, stop
        self._mutex = threading.Lock()
        self._unanswered = 0
        self.over = threading.Event()
        """Once set, no further request begins: the rest of the pass is left to a later one."""

    def send_in_sequence(self, jobs: Sequence[Job]) -> None:
        """Send the events of an order: the next one once the one before it was accepted."""
        for job in jobs:
            if self.over.is_set() or self._stop.is_set():
                return
            job.attempt = sending.send(self._endpoint, id=str(job.row.event_id), payload=job.payload)
            self._note(job.attempt)
            if not job.attempt.is_delivered:
                return

    def _note(self, attempt: Attempt) -> None:
        """End the pass after as many requests without any answer, one after the other, as run at once."""
        with self._mutex:
            self._unanswered = self._unanswered + 1 if attempt.response_status is None else 0
            if self._unanswered >= SENDING_AT_ONCE:
                self.over.set()


def _send_all(
    endpoint: WebhookEndpoint,
    batch: DeliveryBatch,
    *,
    pool: Executor,
    stop: threading.Event,
) -> None:
    """Send to the endpoint, for `PASS_SECONDS` and the requests under way, unless it changes meanwhile."""
    # The threads share the iterator: each takes an order that no other has, until none is left.
    orders, requests = iter([*batch.jobs_by_order.values()]), _Requests(endpoint, stop)

    def work() -> None:
        for jobs in orders:
            requests.send_in_sequence(jobs)

    ends_at = time.monotonic() + PASS_SECONDS
    futures = [pool.submit(work) for _ in range(min(SENDING_AT_ONCE, len(batch.jobs_by_order)))]
    try:
        while wait(futures, timeout=LOOK_SECONDS).not_done and not requests.over.is_set():
            if time.monotonic() > ends_at or _is_changed(endpoint):
                requests.over.set()
        for future in futures:
            future.result()
    finally:
        requests.over.set()


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
    new = [job.row for job in jobs if job.is_new]
    if new:
        bulk_sql.insert_objects(new)
    WebhookDelivery.objects.bulk_update(
        [job.row for job in jobs if not job.is_new and job.is_changed],
        ["status", "attempts", "next_attempt_at", "response_status", "error", "delivered_at"],
    )
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
    elif _is_too_old(row, now):
        row.status, row.next_attempt_at = FAILED, None
    else:
        row.next_attempt_at = now + timedelta(seconds=backoff.pause_seconds(row.attempts))


def _is_too_old(row: WebhookDelivery, now: datetime) -> bool:
    age_seconds = (now - row.created_at).total_seconds()
    return age_seconds > settings.WEBHOOK_GIVE_UP_SECONDS and row.attempts >= FEWEST_ATTEMPTS


def _record_health(row: WebhookEndpoint, attempts: Sequence[Attempt], now: datetime) -> None:
    """Note since when nothing is delivered, and disable an endpoint after `WEBHOOK_GIVE_UP_SECONDS` of that.

    After a pass without any answer the endpoint rests, longer and longer; one that answers with errors goes
    on.
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
        rest = timedelta(seconds=backoff.pause_seconds(max(1, row.failures)))
        row.next_attempt_at = None if has_answered else now + rest
        if (now - row.failing_since).total_seconds() > settings.WEBHOOK_GIVE_UP_SECONDS:
            by = WebhookEndpoint.DisabledBy.FAILURES
            endpoints.disable(row, by=by, error=failed[-1].error, at=now)


def _count(jobs: Iterable[Job]) -> None:
    for job in jobs:
        if job.attempt:
            is_given_up = job.row.status == FAILED
            outcome = "delivered" if job.attempt.is_delivered else "given_up" if is_given_up else "failed"
            ATTEMPTS.labels(outcome).inc()
