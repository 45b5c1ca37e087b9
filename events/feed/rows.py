"""The rows of the feed.

- Recording inserts events last in the transaction of their effect, just before it commits.
- Sequencing locks the feed's one row, and writes the positions of events, then that row.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from events.feed.positions import Run
from events.models import FeedEvent, FeedState
from foundation.db import bulk_sql

ROW = 1
READ = """
SELECT id, position, CASE WHEN run_offset = 0 AND position > {runs_after} THEN run_length ELSE 1 END
FROM events_feedevent WHERE position <= {until} AND {condition}
"""
BY_KEY = " FORCE INDEX (PRIMARY)"
"""A range of ids, or the scan that MariaDB prefers for a small table, locks the row that follows as well: on
MariaDB 11.8 it waits where that one's transaction is open. Ids named one by one lock their rows alone."""


class NewEvent(NamedTuple):
    """An event to be inserted; `data` is serialized."""

    event_id: UUID
    type: str
    order_id: UUID | None
    at: datetime
    data: str


EVENTS_TABLE = bulk_sql.Table(FeedEvent, (*NewEvent._fields, "run_offset", "run_length"))


def insert_events(events: Sequence[NewEvent]) -> None:
    """Insert these events, which are sequenced after the commit: those of a statement are a run, because the
    database gives them consecutive ids.
    """
    for start in range(0, len(events), bulk_sql.ROWS_PER_STATEMENT):
        run = events[start : start + bulk_sql.ROWS_PER_STATEMENT]
        bulk_sql.insert(EVENTS_TABLE, [(*event, offset, len(run)) for offset, event in enumerate(run)])


def read_states(*, is_locked: bool = False) -> list[FeedState]:
    """The feed's one row, or none before its first event; with `is_locked` none either while another
    transaction holds it.
    """
    lock = bulk_sql.for_update(skip_locked=True) if is_locked else ""
    return bulk_sql.reader(FeedState).models(f"id = {ROW}{lock}", bulk_sql.SqlLiterals())


def read_unsequenced(most: int, *, is_by_run: bool = True) -> Sequence[tuple[int, int]]:
    """The first ids and the lengths of runs without a position; else of each event without one, with how many
    of its run are left.
    """
    condition = "position IS NULL AND run_offset = 0" if is_by_run else "position IS NULL"
    columns = "id, run_length - run_offset"
    statement = f"SELECT {columns} FROM events_feedevent WHERE {condition} ORDER BY id LIMIT {most}"  # noqa: S608
    return bulk_sql.fetch(statement)


def give_positions(positions: Mapping[int, int], last: int) -> None:
    """Write the positions of these events, by their ids, and the last one that is given."""
    table = connection.ops.quote_name(FeedEvent._meta.db_table)
    hint = BY_KEY if connection.vendor == "mysql" else ""
    cells = bulk_sql.SqlLiterals()
    values = f"SET position = {cells.case('id', positions)} WHERE id IN ({cells.listed(positions)})"
    bulk_sql.execute_deferred(f"UPDATE {table}{hint} {values}")
    bulk_sql.update(FeedState, {"last_position": last}, condition=f"id = {ROW}", cells=bulk_sql.SqlLiterals())


def read_runs(runs_after: int | None, *, until: int, condition: str) -> list[Run]:
    """The runs that begin up to a position, and meet the condition, which ends the statement."""
    literal = bulk_sql.SqlLiterals()[runs_after]
    found = bulk_sql.fetch(READ.format(runs_after=literal, until=until, condition=condition))
    return list(map(Run._make, found))
