"""The log of deliveries: reading it, sending one again, and sending a test.

What is delivered to the data platform has no rows here: lines of the journal, by whose state
`shop.events.outbox` delivers them, are shown in the shape of deliveries.
"""

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Min, QuerySet
from uuid_utils.compat import uuid7

from shop import clock
from shop.db import key_walks, transactions
from shop.errors import NotFound, Rejected
from shop.events import journal, replaying
from shop.feed_models import FeedEvent
from shop.lazy_texts import mark as _
from shop.models import JournalLine
from shop.webhook_endpoints import endpoints
from shop.webhook_models import BUILT_IN, WebhookDelivery, WebhookEndpoint

TEST, TESTED = "webhook.test", "webhook_endpoint.tested"
MOST_TESTS, TESTS_SECONDS = 10, 60
"""Tests of an endpoint that may be pending, and that may be asked for in so many seconds."""
Status, Sent = WebhookDelivery.Status, JournalLine.Delivery
PENDING = Status.PENDING
STATUSES = {Sent.QUEUED: Status.PENDING, Sent.DELIVERED: Status.DELIVERED, Sent.DEAD: Status.FAILED}
"""Of a delivery, by that of the journal's line."""
HTTP_ERROR = re.compile(r"HTTP (\d{3})\b")


def find(*, endpoint_id: UUID, status: str = "") -> "QuerySet[WebhookDelivery] | QuerySet[JournalLine]":
    """The deliveries of an endpoint; those of the data platform are lines. Raises `NotFound`."""
    if endpoints.get(endpoint_id=endpoint_id).kind == WebhookEndpoint.Kind.DATA_PLATFORM:
        sent = [one for one in STATUSES if status in ("", STATUSES[one])]
        return JournalLine.objects.filter(delivery__in=sent)
    rows = WebhookDelivery.objects.filter(endpoint=endpoint_id)
    return rows.filter(status=status) if status else rows


def from_line(line: JournalLine) -> WebhookDelivery:
    """An event of the journal as a delivery, which is not saved. Its `error` is that of the last attempt."""
    assert line.event_id is not None, "each event has an id"
    status = STATUSES[Sent(line.delivery)]
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


def resend(*, endpoint_id: UUID, delivery_id: int, reason: str = "") -> WebhookDelivery:
    """Send an event again at once, one that was delivered or given up too; then it is tried as a new one.
    Raises `NotFound`, also for an event of an archived month, and `Rejected` `endpoint_disabled` or
    `event_expired`.
    """
    if endpoint_id == BUILT_IN:
        for line in replaying.resend([delivery_id], reason=reason):
            return from_line(line)
        raise _no_delivery(delivery_id)
    _get_enabled(endpoint_id)

    def work() -> WebhookDelivery:
        row = WebhookDelivery.objects.select_for_update().filter(endpoint=endpoint_id, pk=delivery_id).first()
        if row is None:
            raise _no_delivery(delivery_id)
        is_there = row.payload is not None or FeedEvent.objects.filter(position=row.position).exists()
        if not is_there:
            raise Rejected(_("The event was deleted after the retention."), code="event_expired")
        before = {"status": row.status, "error": row.error}
        row.status, row.attempts, row.error = PENDING, 0, ""
        row.next_attempt_at = row.created_at = clock.now()
        row.delivered_at = row.response_status = None
        row.save()
        _try_at_once(endpoint_id)
        journal.note(
            what="webhook_delivery.resent",
            subject=endpoints.journal_subject(endpoint_id),
            before=before,
            after={"delivery": row.pk, "event": str(row.event_id)},
            detail=reason,
            is_internal=True,
        )
        return row

    return transactions.run_or_savepoint(work, transactions.ONCE)


def send_test(*, endpoint_id: UUID) -> WebhookDelivery:
    """Queue an event `webhook.test` for this endpoint alone. Raises `NotFound`, and `Rejected`
    `endpoint_disabled` or `too_many_tests`.
    """
    _get_enabled(endpoint_id)
    id, now = uuid7(), clock.now()
    _require_few_tests(endpoint_id, now)
    payload: dict[str, Any] = {"id": str(id), "type": TEST, "at": now.isoformat(), "data": {}}
    row = WebhookDelivery(
        endpoint_id=endpoint_id,
        event_id=id,
        type=TEST,
        payload=payload,
        status=PENDING,
        next_attempt_at=now,
        created_at=now,
    )

    def work() -> WebhookDelivery:
        _try_at_once(endpoint_id)
        row.save(force_insert=True)
        journal.note(
            what=TESTED,
            subject=endpoints.journal_subject(endpoint_id),
            after={"event": str(id)},
            is_internal=True,
        )
        return row

    return transactions.run(work, transactions.ONCE)


def delete_old() -> int:
    """Delete the log's rows after `EVENT_RETENTION_SECONDS`, except what is pending. Returns how many."""
    cutoff = clock.now() - timedelta(seconds=settings.EVENT_RETENTION_SECONDS)
    return key_walks.delete(WebhookDelivery.objects.filter(created_at__lt=cutoff).exclude(status=PENDING))


def oldest_pending_seconds() -> float:
    """How long the oldest event has waited that an enabled endpoint is to get, since it was first tried, or
    since it happened if it is not yet taken from the feed; 0 when none is.
    """
    positions = dict(endpoints.enabled().values_list("pk", "position"))
    if not positions:
        return 0.0
    # By the endpoints, for which there is an index: most of the log is delivered.
    pending = WebhookDelivery.objects.filter(endpoint__in=list(positions), status=PENDING)
    instants = [pending.aggregate(at=Min("created_at"))["at"]]
    behind = FeedEvent.objects.filter(position__gt=min(positions.values())).order_by("position")
    instants += behind.values_list("at", flat=True)[:1]
    oldest = min((at for at in instants if at is not None), default=None)
    return max(0.0, (clock.now() - oldest).total_seconds()) if oldest else 0.0


def _no_delivery(id: int) -> NotFound:
    return NotFound(_("There is no delivery {id} of this endpoint.", id=id))


def _get_enabled(endpoint_id: UUID) -> WebhookEndpoint:
    endpoint = endpoints.get_own(endpoint_id=endpoint_id)
    if endpoint.disabled_at:
        raise Rejected(_("The endpoint is disabled: enable it first."), code="endpoint_disabled")
    return endpoint


def _require_few_tests(endpoint_id: UUID, now: datetime) -> None:
    """Raise `Rejected` `too_many_tests` if `MOST_TESTS` are pending, or were asked for in the last minute."""
    pending = WebhookDelivery.objects.filter(endpoint=endpoint_id, type=TEST, status=PENDING)
    since = now - timedelta(seconds=TESTS_SECONDS)
    asked = JournalLine.objects.filter(
        subject=endpoints.journal_subject(endpoint_id), what=TESTED, at__gt=since
    )
    if max(pending.count(), asked.count()) >= MOST_TESTS:
        raise Rejected(
            _("This endpoint has had {count} tests: wait until a minute has passed.", count=MOST_TESTS),
            code="too_many_tests",
        )


def _try_at_once(endpoint_id: UUID) -> None:
    """Let the endpoint's rest after failures end, because an operator looks at it now."""
    WebhookEndpoint.objects.filter(pk=endpoint_id).update(next_attempt_at=None)
