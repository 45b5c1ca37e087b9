"""Runs: the events that a statement has inserted, at consecutive ids. The sequencer writes the position of
the first one into its row, and those of the others follow: a run's positions are as far apart as its ids.

Events at positions up to `FeedState.runs_after`, or all where that is None, have theirs in their rows.
"""

from typing import Any, NamedTuple

from django.db.models import F, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from events.models import FeedEvent, FeedState
from shop.db import bulk_sql

READ = """
SELECT id, position, CASE WHEN run_offset = 0 AND position > {runs_after} THEN run_length ELSE 1 END
FROM events_feedevent WHERE position <= {until} AND position >=
    (SELECT COALESCE(MAX(position), 0) FROM events_feedevent WHERE position <= {after})
ORDER BY position LIMIT {most}
"""
FIRST = FeedEvent.objects.filter(
    pk=OuterRef("pk") - OuterRef("run_offset"), run_offset=0, run_length__gt=OuterRef("run_offset")
)
"""The first event of the run that an event is in."""


class Run(NamedTuple):
    """Events at consecutive ids and positions; the first id and position, and how many they are."""

    id: int
    position: int
    length: int

    @property
    def last_position(self) -> int:
        return self.position + self.length - 1


def read(state: FeedState, *, after: int, until: int, most: int) -> list[Run]:
    """The first runs, in their order, that have events after a position and begin up to another one: `most`,
    or one less.
    """
    runs_after = bulk_sql.SqlLiterals()[state.runs_after]
    rows = bulk_sql.fetch(READ.format(runs_after=runs_after, after=after, until=until, most=most))
    return [run for run in map(Run._make, rows) if run.last_position > after]


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
    others = FeedEvent.objects.filter(position__lte=position, pk__gte=first["id"]).defer("data")
    ids = list[int]()
    for event in others:
        start = event.position or 0
        is_run = event.run_offset == 0 and runs_after is not None and start > runs_after
        length = event.run_length if is_run else 1
        ids += range(event.pk, event.pk + min(length, position + 1 - start))
    return FeedEvent.objects.filter(pk__gte=first["id"]).exclude(pk__in=ids)
