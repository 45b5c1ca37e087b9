"""The log of deliveries: reading it, sending events again, and sending a test."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from events.feed import catalogue, reading, runs
from events.models import BUILT_IN, FeedEvent, WebhookDelivery, WebhookEndpoint
from events.webhooks import endpoints, ranges, sending
from foundation import clock, journal
from foundation.db import key_walks, transactions
from foundation.errors import Rejected, required
from foundation.lazy_texts import mark
from foundation.models import JournalLine
from foundation.values import Values

TESTED = "webhook_endpoint.tested"
MOST_TESTS = 10
TESTS_SECONDS = 60
"""Tests of an endpoint that may be pending, and asked for in so many seconds."""
Status = WebhookDelivery.Status
PENDING = Status.PENDING
RESENT_AT_ONCE = 1_000
MOST_RESENT = 10_000
"""Dead events by one use of the page: a repeat continues with the rest."""


def find_dead(
    *,
    type: str = "",
    since: datetime | None = None,
    before: datetime | None = None,
    order_id: UUID | None = None,
) -> "QuerySet[WebhookDelivery]":
    """The dead events, which the data platform never took, oldest first: of a type, or the beginning of one
    (`order.`), by when they happened, of an order.
    """
    by_type = "type__startswith" if type.endswith(".") else "type"
    wanted = {by_type: type, "created_at__gte": since, "created_at__lt": before, "order_id": order_id}
    given = {name: value for name, value in wanted.items() if value}
    return _owed().filter(status=Status.FAILED, **given).order_by("id")


def find(*, endpoint_id: UUID, status: str = "") -> "QuerySet[WebhookDelivery]":
    """The rows of the deliveries to an endpoint, which `ranges.walk` opens. Raises `NotFound`."""
    rows = WebhookDelivery.objects.filter(endpoint=endpoints.get(endpoint_id=endpoint_id).pk)
    return rows.filter(status=status) if status else rows


def to_data_platform() -> "QuerySet[WebhookDelivery]":
    return WebhookDelivery.objects.filter(endpoint=BUILT_IN)


def _owed() -> "QuerySet[WebhookDelivery]":
    """Those to the data platform that there is: none while it is off, though some may be from before that."""
    return to_data_platform() if settings.DATA_PLATFORM_URL else WebhookDelivery.objects.none()


def untaken() -> "QuerySet[FeedEvent]":
    """The events for the data platform that no pass has taken from the feed; none while it is off."""
    endpoint = endpoints.get(endpoint_id=BUILT_IN)
    if not endpoint.is_enabled:
        return FeedEvent.objects.none()
    return runs.events_after(endpoint.position).filter(reading.chosen_by(endpoint.events))


def lost(event_id: OuterRef) -> Q:
    """The condition that nothing will bring the event of this id to the data platform, while there is one: it
    was given up, or a pass took it and it has no row, unless a range has it (`in_ranges`). A row outlives the
    event in the feed (`delete_old`).
    """
    if not settings.DATA_PLATFORM_URL:
        return Q(pk__in=[])
    rows = to_data_platform().filter(event_id=event_id)
    position = WebhookEndpoint.objects.filter(pk=BUILT_IN).values("position")
    events = runs.with_positions().filter(event_id=event_id, type__in=endpoints.DATA_PLATFORM_EVENTS)
    taken = events.filter(feed_position__lte=Coalesce(Subquery(position), 0))
    return Q(Exists(rows.filter(status=Status.FAILED))) | Q(~Exists(rows), Exists(taken))


def in_ranges(event_ids: "Collection[UUID | None] | QuerySet[Any, Any]") -> dict[UUID, WebhookDelivery]:
    """Those of these events that ranges say the data platform accepted, not saved, by the events' ids."""
    found = ranges.find(BUILT_IN, reading.find(event_ids))
    return {row.event_id: row for row in found}


def of_order(order_id: UUID) -> list[WebhookDelivery]:
    """The order's events for the data platform with their contents, oldest first; none while it is off.

    One without a row of its own is not saved: it is not yet taken from the feed, and pending, or was
    delivered.
    """
    if not settings.DATA_PLATFORM_URL:
        return []
    whats = [what for what, type in catalogue.FROM_JOURNAL.items() if type in endpoints.DATA_PLATFORM_EVENTS]
    noted = JournalLine.objects.filter(order_id=order_id, what__in=whats, event_id__isnull=False)
    lines = {line.event_id: line for line in noted.order_by("id") if line.event_id}
    rows = in_ranges(lines) | {row.event_id: row for row in to_data_platform().filter(event_id__in=lines)}
    feed = {event.event_id: event.position for event in reading.find(lines)}
    to_come = set(untaken().filter(event_id__in=lines).values_list("event_id", flat=True))
    found = []
    for id, line in lines.items():
        type = catalogue.FROM_JOURNAL[line.what]
        row = rows.get(id) or WebhookDelivery(
            endpoint_id=BUILT_IN,
            position=feed.get(id),
            event_id=id,
            order_id=order_id,
            type=type,
            created_at=line.at,
            status=PENDING if id in to_come else Status.DELIVERED,
        )
        data = catalogue.data_of(type, subject=line.subject, order_id=order_id, after=line.after)
        row.payload = sending.stored({"id": str(id), "type": type, "at": line.at, "data": data})
        found.append(row)
    return found


def resend(*, endpoint_id: UUID, delivery_id: int, reason: str = "") -> WebhookDelivery:
    """Send an event again at once, one that was delivered or given up too; then it is tried as a new one.

    One of a range gets a row of its own. Raises `NotFound`, and `Rejected` `endpoint_disabled` or
    `event_expired`.
    """
    _require_enabled(endpoints.get(endpoint_id=endpoint_id))
    expired = Rejected(mark("The event was deleted after the retention."), code="event_expired")

    def work() -> WebhookDelivery:
        _try_at_once(endpoint_id)
        rows = WebhookDelivery.objects.select_for_update().filter(endpoint=endpoint_id, first_position=None)
        position = delivery_id - ranges.OPENED
        own = rows.filter(position=position) if position > 0 else rows.filter(pk=delivery_id)
        events = reading.read_events(after=position - 1, until=position) if position > 0 else []
        row = own.first() or next(iter(ranges.find(endpoint_id, events)), None)
        if row is None and 0 < position <= reading.read_state().swept_position:
            raise expired
        row = required(row, mark("There is no delivery {id} of this endpoint.", id=delivery_id))
        if row.payload is None:
            event = FeedEvent.objects.filter(event_id=row.event_id).first()
            if event is None:
                raise expired
            row.payload = sending.stored(sending.body_of(event))
        if row.pk > ranges.OPENED:
            row.pk = None
        _requeue(row, reason)
        return row

    return transactions.run_or_savepoint(work, transactions.ONCE)


def resend_dead(ids: Sequence[int], *, reason: str = "") -> list[int]:
    """Send those of these events that are dead to the data platform again, oldest first, in transactions of
    `RESENT_AT_ONCE`; returns the ids of their rows.
    """
    wanted = sorted(ids)
    resent = list[int]()

    def work(batch: Sequence[int]) -> list[int]:
        _try_at_once(BUILT_IN)
        rows = _owed().select_for_update().filter(id__in=batch, status=Status.FAILED)
        dead = [_requeue(row, reason, saves=False) for row in rows.order_by("id")]
        to_data_platform().filter(id__in=dead).update(**_as_new())
        return dead

    for start in range(0, len(wanted), RESENT_AT_ONCE):
        batch = wanted[start : start + RESENT_AT_ONCE]
        resent += transactions.run(partial(work, batch), transactions.ONCE)
    return resent


def resend_order(*, order_id: UUID, reason: str) -> int:
    """Send all events of the order to the data platform again at once, in sequence; returns how many.

    A repeat sends them again: run it by `recorded_answers.run_once`. Raises `Rejected` `no_events` or
    `endpoint_disabled`.
    """
    _require_enabled(endpoints.get(endpoint_id=BUILT_IN))

    def work() -> int:
        # While it is locked, no pass takes events from the feed.
        _try_at_once(BUILT_IN)
        rows = of_order(order_id)
        if not rows:
            text = mark("The order has no events: they are written when it is paid, refunded or cancelled.")
            raise Rejected(text, code="no_events")
        # Rows anew, so that their keys have the sequence of the events: old rows may be gone already.
        to_data_platform().filter(event_id__in=[row.event_id for row in rows]).delete()
        for row in rows:
            is_to_come = row.pk is None and row.status == PENDING
            row.pk = None
            # What a pass will take from the feed is only noted.
            _requeue(row, reason, saves=not is_to_come)
        return len(rows)

    return transactions.run_or_savepoint(work, transactions.ONCE)


def send_test(*, endpoint_id: UUID) -> WebhookDelivery:
    """Queue an event `webhook.test` for this endpoint alone. Raises `NotFound`, and `Rejected`
    `endpoint_disabled` or `too_many_tests`.
    """
    _require_enabled(endpoints.get_own(endpoint_id=endpoint_id))
    subject = endpoints.journal_subject(endpoint_id)
    since = clock.now() - timedelta(seconds=TESTS_SECONDS)
    pending = WebhookDelivery.objects.filter(endpoint=endpoint_id, type=catalogue.TEST, status=PENDING)
    asked = JournalLine.objects.filter(subject=subject, what=TESTED, at__gt=since)
    if max(pending.count(), asked.count()) >= MOST_TESTS:
        raise Rejected(
            mark("This endpoint has had {count} tests: wait until a minute has passed.", count=MOST_TESTS),
            code="too_many_tests",
        )
    row = sending.only_for(endpoint_id, catalogue.TEST, {})

    def work() -> WebhookDelivery:
        _try_at_once(endpoint_id)
        row.save(force_insert=True)
        journal.note(what=TESTED, subject=subject, after={"event": str(row.event_id)}, is_internal=True)
        return row

    return transactions.run_or_savepoint(work, transactions.ONCE)


def delete_old() -> int:
    """Delete the log's rows after `EVENT_RETENTION_SECONDS`, except what is pending, or never reached the
    data platform. Returns how many.

    A row for the data platform outlives its event in the feed: by that `lost` finds what has no row.
    """
    cutoff = clock.now() - timedelta(seconds=settings.EVENT_RETENTION_SECONDS)
    of_feed = Q(position__gt=reading.read_state().swept_position) | Q(status=Status.FAILED)
    kept = Q(status=PENDING) | Q(of_feed, endpoint=BUILT_IN)
    return key_walks.delete(WebhookDelivery.objects.filter(created_at__lt=cutoff).exclude(kept))


def queued_count() -> int:
    """The events that wait to be delivered to the data platform."""
    return _owed().filter(status=PENDING).count() + untaken().count()


def refused_count() -> int:
    """The number of queued events that were refused for good at their last attempt."""
    return _owed().filter(status=PENDING, refused_at__isnull=False).count()


def dead_count() -> int:
    return find_dead().count()


def oldest_queued_seconds() -> float:
    """The age of the oldest event that waits to be delivered to the data platform; 0 when none does."""
    return _oldest_seconds(_owed(), untaken())


def oldest_pending_seconds() -> float:
    """How long the oldest event has waited that an enabled endpoint of a program is to get, since it was
    first tried, or since it happened if it is not yet taken from the feed; 0 when none is.
    """
    programs = WebhookEndpoint.objects.filter(disabled_at=None).exclude(pk=BUILT_IN)
    positions = dict(programs.values_list("pk", "position"))
    if not positions:
        return 0.0
    # By the endpoints, for which there is an index: most of the log is delivered.
    rows = WebhookDelivery.objects.filter(endpoint__in=list(positions))
    return _oldest_seconds(rows, runs.events_after(min(positions.values())))


def _oldest_seconds(rows: "QuerySet[WebhookDelivery]", behind: "QuerySet[FeedEvent]") -> float:
    instants = [rows.filter(status=PENDING).aggregate(at=Min("created_at"))["at"]]
    instants += behind.order_by("pk").values_list("at", flat=True)[:1]
    oldest = min((at for at in instants if at is not None), default=None)
    return clock.age_seconds(oldest) if oldest else 0.0


def _requeue(row: WebhookDelivery, reason: str, *, saves: bool = True) -> int:
    """Make this locked or new delivery due at once, as if it were new, and note that in the journal. Returns
    its key.
    """
    before = {"status": row.status, "error": row.error}
    if row.delivered_at:
        before["delivered_at"] = row.delivered_at.isoformat()
    for name, value in _as_new().items():
        setattr(row, name, value)
    if saves:
        row.save()
    journal.note(
        what="event.resent",
        subject=f"event {row.event_id}",
        order_id=row.order_id,
        before=before,
        after={"status": PENDING, "endpoint": str(row.endpoint_id), "delivery": row.pk},
        detail=reason,
        is_internal=True,
    )
    return row.pk


def _as_new() -> Values:
    """The columns of a delivery that is due at once."""
    now = clock.now()
    unknown = dict.fromkeys(("delivered_at", "response_status", "refused_at"))
    columns = {"status": PENDING, "attempts": 0, "error": "", "next_attempt_at": now, "created_at": now}
    return unknown | columns


def _require_enabled(endpoint: WebhookEndpoint) -> None:
    if not endpoint.is_enabled:
        raise Rejected(mark("The endpoint is disabled: enable it first."), code="endpoint_disabled")


def _try_at_once(endpoint_id: UUID) -> None:
    """Let the endpoint's rest after failures end, because an operator looks at it now. This locks its row, as
    a pass that records does before it changes deliveries.
    """
    WebhookEndpoint.objects.filter(pk=endpoint_id).update(next_attempt_at=None)
