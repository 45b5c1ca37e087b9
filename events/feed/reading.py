"""Reading the feed: pages of events after a cursor, and the deletion of old ones.

A cursor, opaque to readers, is the position of the last event that its reader has seen, and the generation of
the feed: after a restore, positions of the time that it lost are given to other events.
"""

import base64
import struct
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import attrgetter, or_
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet

from events.feed import catalogue, rows, runs, sequencing
from events.models import BUILT_IN, FeedEvent, FeedState, WebhookEndpoint
from foundation import clock
from foundation.db import transactions
from foundation.errors import CursorExpired, invalid_field
from foundation.lazy_texts import mark
from foundation.values import Values

READ_EVENTS = "events.view_feedevent"
"""The permission to read them, by whichever call, and to have webhook endpoints sent them."""
MOST_POSITIONS = 10_000
"""That a page looks at: one of a rare type may be empty, and yet go on."""
SWEPT_PER_TRANSACTION = 2_000
"""Events, or those of one run."""
VERSION = 1
CURSOR = struct.Struct(">BQQ")
"""The version, the position and the generation."""


class Cursor(NamedTuple):
    """A reader has seen all events up to the position, of this generation of the feed."""

    position: int
    generation: int = 0


class Event(NamedTuple):
    """What the feed has of an event, for those who read many."""

    position: int
    event_id: UUID
    type: str
    order_id: UUID | None
    at: datetime
    data: Values


class Page(NamedTuple):
    """Some events in their order; `cursor` is the last that was looked at, `is_end` if none follows."""

    events: Sequence[Event]
    cursor: Cursor
    is_end: bool


def encode_cursor(cursor: Cursor) -> str:
    """The cursor as readers get it."""
    return base64.urlsafe_b64encode(CURSOR.pack(VERSION, *cursor)).decode()


def decode_cursor(cursor: str) -> Cursor:
    """What a cursor says. Raises `Invalid` if it was not made by `encode_cursor`."""
    try:
        version, *numbers = CURSOR.unpack(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
    except (ValueError, struct.error):
        raise _not_a_cursor() from None
    if version != VERSION or max(numbers) >= 2**63:
        raise _not_a_cursor()
    return Cursor(*numbers)


def read_page(
    *,
    after: int | None,
    patterns: Collection[str],
    limit: int,
    most_positions: int = MOST_POSITIONS,
    generation: int | None = None,
) -> Page:
    """Up to `limit` events after a position, or from the oldest one on, of types that a pattern chooses, or
    all.

    `generation` is that of the position, unless the database keeps both. Raises `Invalid` for a position that
    was not given yet, and `CursorExpired` for one of before a restore, or if events after it were deleted.
    """
    # Read before the events: all positions up to the last one are committed by then.
    state = read_state()
    position = state.swept_position if after is None else after
    if generation not in (None, state.generation):
        raise CursorExpired(
            mark(
                "The cursor is of before the database was restored from a backup; compare your copy with the "
                "shop, and read from the oldest event on, without a cursor."
            ),
            restored_at=datetime.fromtimestamp(state.generation / 1000, UTC),
        )
    if position > state.last_position:
        raise _not_a_cursor()
    if position < state.swept_position:
        raise _expired()
    until = position + most_positions
    for first, last, _at in state.gaps:
        # There is nothing to look at in a gap.
        if position < last and first <= until:
            until += last - max(position, first - 1)
    until = min(until, state.last_position)
    events = read_events(state, after=position, until=until, patterns=patterns, limit=limit)
    position = events[-1].position if len(events) == limit else until
    if after is not None and read_state().swept_position > after:
        # They were deleted while this read them.
        raise _expired()
    return Page(events, Cursor(position, state.generation), is_end=position == state.last_position)


def read_events(
    state: FeedState | None = None,
    *,
    after: int,
    until: int,
    patterns: Collection[str] = (),
    limit: int = MOST_POSITIONS,
) -> list[Event]:
    """The first `limit` events after a position and up to another, in their order, of types that a pattern
    chooses, or all. Those that were deleted are left out.
    """
    state = state or read_state()
    events = list[Event]()
    most = limit
    while after < until and len(events) < limit:
        last = min(after + most, until)
        positions = {
            run.id + offset: run.position + offset
            for run in runs.read(state, after=after, until=last, most=most + 1)
            for offset in range(run.length)
            if after < run.position + offset <= last
        }
        chosen = FeedEvent.objects.filter(chosen_by(patterns), pk__in=positions)
        rows = chosen.values_list("pk", *Event._fields[1:])
        found = [Event(positions[id], *columns) for id, *columns in rows]
        events += sorted(found, key=attrgetter("position"))
        after = last
        # The next ones of a rare type, or behind a gap, may be far away.
        most *= 4
    return events[:limit]


def find(event_ids: "Collection[UUID | None] | QuerySet[Any, Any]") -> list[Event]:
    """Those of the events with these ids that have positions, in their order."""
    found = runs.with_positions().filter(event_id__in=event_ids, feed_position__isnull=False)
    rows = found.order_by("feed_position").values_list("feed_position", *Event._fields[1:])
    return list(map(Event._make, rows))


def read_state() -> FeedState:
    """The feed's one row; one that is not saved before the first event."""
    return next(iter(rows.read_states()), FeedState())


def missing_positions() -> int:
    """How many positions after the deleted events have no event, except a restore's gaps: always 0."""
    state = read_state()
    last = state.last_position
    deleted = state.swept_position
    left_out = sum(max(0, end - max(first - 1, deleted)) for first, end, _ in state.gaps)
    return last - deleted - left_out - runs.with_positions().filter(feed_position__lte=last).count()


def unsequenced_seconds() -> float:
    """How long ago the oldest event happened that is committed and has no position; 0 when each has one."""
    oldest = sequencing.unsequenced().first()
    return clock.age_seconds(oldest.at) if oldest else 0.0


def delete_old() -> int:
    """Delete events that are older than the retention, in small batches. Returns how many.

    From the first position on, up to a run that is young enough, or that the data platform, if there is one,
    is to get: none is missing in between.
    """
    cutoff = clock.now() - timedelta(seconds=settings.EVENT_RETENTION_SECONDS)
    until = read_state().last_position
    platform = WebhookEndpoint.objects.filter(pk=BUILT_IN)
    for taken in platform.values_list("position", flat=True) if settings.DATA_PLATFORM_URL else ():
        until = min(until, taken)
    young = FeedEvent.objects.filter(position__lte=until, at__gte=cutoff).order_by("position").first()
    if young and young.position:
        until = young.position - 1
    deleted = 0
    while count := transactions.run(lambda: _delete_batch(until), transactions.REPEATABLE):
        deleted += count
    return deleted


def _delete_batch(until: int) -> int:
    """Delete the first runs that end up to this position."""
    state = read_state()
    ids = list[int]()
    last = 0
    for run in runs.read(state, after=state.swept_position, until=until, most=SWEPT_PER_TRANSACTION):
        if run.last_position > until or (ids and len(ids) + run.length > SWEPT_PER_TRANSACTION):
            break
        ids += range(run.id, run.id + run.length)
        last = run.last_position
    FeedState.objects.filter(pk=rows.ROW, swept_position__lt=last).update(swept_position=last)
    FeedEvent.objects.filter(pk__in=ids).delete()
    return len(ids)


def chosen_by(patterns: Collection[str]) -> Q:
    """The condition of events whose type a pattern chooses; without any all are."""
    if not patterns or "*" in patterns:
        return Q()
    conditions = [
        Q(type__startswith=pattern[:-1]) if pattern.endswith("*") else Q(type=pattern) for pattern in patterns
    ]
    return reduce(or_, conditions)


def check_pattern(pattern: str, *, field: str = "type") -> None:
    """Raise `Invalid` if the pattern, in this field, chooses no type of event."""
    if pattern and not catalogue.is_pattern(pattern):
        raise invalid_field(field, "unknown_type", mark("No event has the type {type}.", type=pattern))


def _not_a_cursor() -> Exception:
    return invalid_field("after", "invalid", mark("The cursor does not belong to this list."))


def _expired() -> CursorExpired:
    return CursorExpired(
        mark("Events after the cursor were deleted; read from the oldest one on, without a cursor.")
    )
