"""The audit of the event feed: L15, each event once, at positions without gaps.

A line of the journal and the event that it is share an id, by which one statement compares them. Lines whose
events are deleted after the retention are not compared: `_compared_from` says from when on lines count.
Events are not looked for in the journal: release 2.0 archived lines of it.

`SUBJECTS` and `WHOLE_CHECKS` are the same law for a scheduled audit.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db.models import BigIntegerField, Exists, F, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from events.feed import catalogue, reading, sequencing
from events.models import FeedEvent, FeedState
from shop import clock
from shop.models import JournalLine
from shop.operations.audits.checks import (
    OFFENDERS_REPORTED,
    Chosen,
    LawReport,
    Subject,
    WholeCheck,
    count,
    report,
    within,
)

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
SLACK = timedelta(minutes=2)
"""No transaction is open for longer: by so much positions may be in another order than instants."""


def audit() -> list[LawReport]:
    return [positions_have_no_gaps(), ends_are_given_positions(), lines_have_their_events()]


def positions_have_no_gaps(event_ids: Chosen = None) -> LawReport:
    """Before each event, back to those that were deleted, is the event of the position before, or a gap.

    Offenders are positions without an event, and events that should have been deleted.
    """
    given = FeedEvent.objects.filter(within("pk", event_ids), position__isnull=False)
    before = FeedEvent.objects.filter(position=OuterRef("position") - 1)
    behind_gaps = given.filter(position__gt=_state("swept_position") + 1).exclude(Exists(before))
    left = given.filter(position__lte=_state("swept_position"))
    behind_gaps = behind_gaps.exclude(position__in=[last + 1 for last in _ends_of_gaps()])
    offenders = [f"position {position - 1}" for position in _positions(behind_gaps)]
    offenders += [f"event at {position}" for position in _positions(left)]
    return report("L15", count(given, event_ids), offenders)


def ends_are_given_positions() -> LawReport:
    """The last position has its event, unless it was deleted or left out, and no event has a later one."""
    last = FeedEvent.objects.filter(position=OuterRef("last_position"))
    lost = FeedState.objects.filter(last_position__gt=F("swept_position")).exclude(Exists(last))
    lost = lost.exclude(last_position__in=_ends_of_gaps())
    later = FeedEvent.objects.filter(position__gt=_state("last_position"))
    offenders = [f"position {position}" for position in lost.values_list("last_position", flat=True)]
    offenders += [f"event at {position}" for position in _positions(later)]
    return report("L15", 0, offenders)


def lines_have_their_events(line_ids: Chosen = None) -> LawReport:
    """Each line of the journal that is an event, and is young enough, has it in the feed.

    That it has no second one is a constraint's. Offenders are lines.
    """
    since = _compared_from()
    if since is None:
        return report("L15", 0, [])
    lines = JournalLine.objects.filter(
        within("pk", line_ids), what__in=catalogue.FROM_JOURNAL, event_id__isnull=False, at__gte=since
    )
    theirs = FeedEvent.objects.filter(event_id=OuterRef("event_id"))
    without = list(lines.exclude(Exists(theirs)).values_list("pk", "at")[:OFFENDERS_REPORTED])
    if without:
        # Events may have been deleted after the retention since it was read.
        since = _compared_from() or clock.now()
    return report("L15", count(lines, line_ids), [f"journal line {pk}" for pk, at in without if at >= since])


def _compared_from() -> datetime | None:
    """From when on lines of the journal must have their events; None while the feed has none.

    All must until events are deleted; from then on those of the retention.
    """
    state = reading.read_state()
    kept = FeedEvent.objects.filter(position__gt=state.swept_position).order_by("position").first()
    if kept is None:
        return None
    if not state.swept_position:
        return BEGINNING
    return max(kept.at, clock.now() - timedelta(seconds=settings.EVENT_RETENTION_SECONDS)) + SLACK


def _ends_of_gaps() -> list[int]:
    """The last position of each gap that a restore of a backup has left."""
    return [last for _first, last, _ in reading.read_state().gaps]


def _state(name: str) -> Coalesce:
    """A position of the feed's state, as a part of a statement; 0 before its first event."""
    position = FeedState.objects.filter(pk=sequencing.ROW).values(name)
    return Coalesce(Subquery(position), Value(0), output_field=BigIntegerField())


def _positions(events: "QuerySet[FeedEvent]") -> list[int]:
    rows = events.order_by("position").values_list("position", flat=True)[:OFFENDERS_REPORTED]
    return [position for position in rows if position is not None]


def _compared_lines() -> "QuerySet[JournalLine]":
    """From the first line on that must have its event, by the key: the lines before are far more."""
    since = _compared_from()
    if since is None:
        return JournalLine.objects.none()
    first = (
        JournalLine.objects.filter(at__gte=since).order_by("at", "pk").values_list("pk", flat=True).first()
    )
    return JournalLine.objects.none() if first is None else JournalLine.objects.filter(pk__gte=first)


SUBJECTS = (
    Subject("event", FeedEvent.objects.all, (("L15", positions_have_no_gaps),), size=2_000, is_counted=True),
    Subject(
        "journal line", _compared_lines, (("L15", lines_have_their_events),), size=2_000, is_counted=True
    ),
)
WHOLE_CHECKS = (WholeCheck("L15", ends_are_given_positions),)
