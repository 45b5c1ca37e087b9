"""Runs: the events that a statement has inserted, at consecutive ids. The sequencer writes the position of
the first one into its row, and those of the others follow: a run's positions are as far apart as its ids.

Events at positions up to `FeedState.runs_after`, or all where that is None, have theirs in their rows.
"""

from typing import Any

from django.db.models import F, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from events.feed import rows
from events.feed.positions import Run
from events.models import FeedEvent, FeedState

FROM = """
position >= (SELECT COALESCE(MAX(position), 0) FROM events_feedevent WHERE position <= {after})
ORDER BY position LIMIT {most}
"""
FIRST = FeedEvent.objects.filter(
    pk=OuterRef("pk") - OuterRef("run_offset"), run_offset=0, run_length__gt=OuterRef("run_offset")
)
"""The first event of the run that an event is in."""


def read(state: FeedState, *, after: int, until: int, most: int) -> list[Run]:
    """The first runs, in their order, that have events after a position and begin up to another one: `most`,
    or one less.
    """
    found = rows.read_runs(state.runs_after, until=until, condition=FROM.format(after=after, most=most))
    return [run for run in found if run.last_position > after]


def with_positions() -> "QuerySet[Any]":
    """All events, with their `feed_position`: None until they are sequenced."""
    runs_after = Subquery(FeedState.objects.values("runs_after"))
    first = Subquery(FIRST.filter(position__gt=runs_after).values("position"))
    return FeedEvent.objects.annotate(feed_position=Coalesce(F("position"), first + F("run_offset")))


def events_after(position: int) -> "QuerySet[FeedEvent]":
    """The events after a position, and those that are not sequenced yet."""
    runs_after = FeedState.objects.values_list("runs_after", flat=True).first()
    before = FeedEvent.objects.filter(position__lte=position).aggregate(last=Coalesce(Max("position"), 0))
    of_runs = Q(position__gte=before["last"]) | Q(position=None, run_offset=0)
    first = FeedEvent.objects.filter(of_runs).aggregate(id=Coalesce(Min("pk"), 0))
    # Most events at or before the position have lower ids than all those; the few others are named.
    ids = list[int]()
    for run in rows.read_runs(runs_after, until=position, condition=f"id >= {first['id']:d}"):
        ids += range(run.id, run.id + min(run.length, position + 1 - run.position))
    return FeedEvent.objects.filter(pk__gte=first["id"]).exclude(pk__in=ids)
