"""Runs: the events that a statement has inserted, at consecutive ids. The sequencer writes the position of
the first one into its row, and those of the others follow: a run's positions are as far apart as its ids.

Events at positions up to `FeedState.runs_after`, or all where that is None, have theirs in their rows.
"""

from typing import Any, NamedTuple

from django.db.models import F, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from events.models import FeedEvent, FeedState
from foundation.db import bulk_sql

READ = """
SELECT id, position, CASE WHEN run_offset = 0 AND position > {runs_after} THEN run_length ELSE 1 END
FROM events_feedevent WHERE position <= {until} AND {condition}
"""
FROM = """
position >= (SELECT COALESCE(MAX(position), 0) FROM events_feedevent WHERE position <= {after})
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
    found = _read(state.runs_after, until=until, condition=FROM.format(after=after, most=most))
    return [run for run in found if run.last_position > after]


def _read(runs_after: int | None, *, until: int, condition: str) -> list[Run]:
    """The runs that begin up to a position, and meet the condition, which ends the statement."""
    literal = bulk_sql.SqlLiterals()[runs_after]
    rows = bulk_sql.fetch(READ.format(runs_after=literal, until=until, condition=condition))
    return list(map(Run._make, rows))


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
    for run in _read(runs_after, until=position, condition=f"id >= {first['id']:d}"):
        ids += range(run.id, run.id + min(run.length, position + 1 - run.position))
    return FeedEvent.objects.filter(pk__gte=first["id"]).exclude(pk__in=ids)
