"""The audit of the event feed: L15, each event once, at positions without gaps.

A line of the journal and the event that it is share an id, by which one statement compares them. Lines whose
events are deleted after the retention are not compared: `_compared_from` says from when on lines count.
Events are not looked for in the journal: release 2.0 archived lines of it.

`SUBJECTS` and `WHOLE_CHECKS` are the same law for a scheduled audit.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from events.feed import catalogue, reading, runs
from events.models import FeedEvent, FeedState
from foundation import clock
from foundation.models import JournalLine
from foundation.operations.audits.checks import (
    OFFENDERS_REPORTED,
    Chosen,
    LawReport,
    Subject,
    WholeCheck,
    count,
    offenders_of,
    report,
    within,
)

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
SLACK = timedelta(minutes=2)
"""No transaction is open for longer: by so much positions may be in another order than instants."""


def audit() -> list[LawReport]:
    return [positions_have_no_gaps(), ends_are_given_positions(), lines_have_their_events()]


def positions_have_no_gaps(event_ids: Chosen = None) -> LawReport:
    """Before each event, back to those that were deleted, is the event of the position before, or a gap; its
    position is given to no other event, and its run has its first event.

    Offenders are positions without an event, events that should not be at their position, and those that are
    in no run.
    """
    if event_ids is None:
        parts = [positions_have_no_gaps(ids) for ids in SUBJECTS[0].chunks()]
        named = [offender for part in parts for offender in part.offenders]
        return report("L15", sum(part.checked for part in parts), named[:OFFENDERS_REPORTED])
    swept = reading.read_state().swept_position
    events = runs.with_positions().filter(within("pk", event_ids))
    rows = list(events.exclude(feed_position=None).values_list("pk", "position", "feed_position"))
    state = reading.read_state()
    found = {position for *_, position in rows}
    offenders = [f"event at {one}" for one in found if not swept < one <= state.last_position]
    members = {pk: position for pk, own, position in rows if own is None}
    others = FeedEvent.objects.filter(position__in=members.values()).exclude(pk__in=members)
    offenders += offenders_of(others, "position", kind="event at")
    runless = events.filter(feed_position=None).exclude(Exists(runs.FIRST))
    offenders += offenders_of(runless, "event_id", kind="event")
    before = {position - 1 for position in found if position > swept + 1} - found - set(_ends_of_gaps())
    lacking = [position for position in before if not _has_event(state, position)]
    # Events may have been deleted after the retention meanwhile.
    swept = reading.read_state().swept_position
    offenders += [f"position {position}" for position in lacking if position > swept]
    return report("L15", len(found), offenders[:OFFENDERS_REPORTED])


def ends_are_given_positions() -> LawReport:
    """The last position has its event, unless it was deleted or left out."""
    state = reading.read_state()
    last = state.last_position
    is_lost = last not in _ends_of_gaps() and not _has_event(state, last)
    is_lost = is_lost and last > reading.read_state().swept_position
    return report("L15", 0, [f"position {last}"] if is_lost else [])


def _has_event(state: FeedState, position: int) -> bool:
    return bool(reading.read_events(state, after=position - 1, until=position))


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
