"""Ranges of the log, opened: each of the events for which one row stands, as a row of its own would be.

An opened delivery is not saved. Its id, which follows from its position, is larger than that of any row.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from django.db.models import Max, QuerySet

from events.feed import catalogue, reading
from events.models import BUILT_IN, WebhookDelivery

OPENED = 2**52
"""The id of the delivery at position 0. JSON has ids up to twice as large as whole numbers."""
ROWS_AT_ONCE = 100
APART = 1_000
"""Positions between two events whose ranges are read by statements of their own: many may be between."""


def open_row(row: WebhookDelivery) -> list[WebhookDelivery]:
    """The deliveries that a row stands for, in sequence: itself, or, of a range, those that the feed has."""
    if row.first_position is None or row.position is None:
        return [row]
    events = reading.read_events(
        after=row.first_position - 1, until=row.position, patterns=row.patterns or ()
    )
    return _open(row.endpoint_id, [row], events)


def find(endpoint_id: UUID, events: Sequence[reading.Event]) -> list[WebhookDelivery]:
    """The deliveries of these events, which come in sequence, that ranges of the endpoint stand for."""
    found = list[WebhookDelivery]()
    start = 0
    for end in range(1, len(events) + 1):
        if end == len(events) or events[end].position - events[end - 1].position > APART:
            found += _find(endpoint_id, events[start:end])
            start = end
    return found


def _find(endpoint_id: UUID, events: Sequence[reading.Event]) -> list[WebhookDelivery]:
    log = WebhookDelivery.objects.filter(
        endpoint=endpoint_id, first_position__isnull=False, status=WebhookDelivery.Status.DELIVERED
    )
    last = events[-1].position
    # Both ends are known, so that the index leads to them: the range of the last event may reach further.
    end = log.filter(position__gte=last).order_by("position").first()
    until = end.position if end else last
    return _open(endpoint_id, log.filter(position__range=(events[0].position, until)), events)


def _open(
    endpoint_id: UUID, rows: Iterable[WebhookDelivery], events: Sequence[reading.Event]
) -> list[WebhookDelivery]:
    """The deliveries of these events that these ranges of the endpoint stand for."""
    places = [event.position for event in events]
    singles = WebhookDelivery.objects.filter(endpoint=endpoint_id, first_position=None, position__in=places)
    own = set(singles.values_list("position", flat=True))
    return [
        WebhookDelivery(
            id=OPENED + event.position,
            endpoint_id=endpoint_id,
            position=event.position,
            event_id=event.event_id,
            order_id=event.order_id,
            type=event.type,
            status=row.status,
            attempts=1,
            response_status=row.response_status,
            created_at=event.at if endpoint_id == BUILT_IN else row.created_at,
            delivered_at=row.delivered_at,
        )
        for row in rows
        for event in events[
            bisect_left(places, row.first_position or 0) : bisect_right(places, row.position or 0)
        ]
        if event.position not in own
        and any(catalogue.matches(event.type, pattern) for pattern in row.patterns or ())
    ]


def walk(
    rows: "QuerySet[WebhookDelivery]", key: int | None = None, *, is_backward: bool = False
) -> Iterator[WebhookDelivery]:
    """The deliveries beyond this id, or all, of these rows of an endpoint, newest first, or backward; ranges
    are opened in their places.
    """
    step = 1 if is_backward else -1
    side = "pk__gt" if is_backward else "pk__lt"
    swept = reading.read_state().swept_position
    rows = rows.exclude(first_position__isnull=False, position__lte=swept)
    if key is not None and key >= OPENED:
        place = key - OPENED
        found = rows.filter(first_position__lte=place, position__gte=place).order_by("position").first()
        if found:
            yield from (one for one in open_row(found)[::step] if step * (one.pk - key) > 0)
            key = found.pk
        else:
            # It was deleted meanwhile: further on are the rows of events before it.
            before = rows.filter(position__lt=place).aggregate(last=Max("pk"))
            key = (before["last"] or 0) + (not is_backward)
    left = rows.order_by("pk" if is_backward else "-pk")
    while page := list(left.filter(**{side: key} if key is not None else {})[:ROWS_AT_ONCE]):
        for row in page:
            yield from open_row(row)[::step]
        key = page[-1].pk
