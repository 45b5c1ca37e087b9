"""Sequencing: committed events get consecutive positions, by one sequencer at a time.

Ids are drawn before the commit, so a reader that remembers the last id would skip events of slow
transactions. Under the lock of the feed's one row the sequencer reads what has committed, by ids, which keeps
the sequence of an order's events, and commits their positions together with `last_position`: no lower
position is given afterwards.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from django.db import connection
from django.db.models import QuerySet
from prometheus_client import Counter

from events.models import FeedEvent, FeedState
from shop import clock
from shop.db import bulk_sql, transactions
from shop.redis import completion_notifications

SEQUENCED = Counter("firstcome_feed_events", "Events of the feed that got their positions.")
ROW = 1
GAP = 1_000_000
"""More positions than are given between a restored state and the mishap."""
EVENTS_PER_TRANSACTION = 2_000
NOTIFICATION = "events"
"""The name by which readers wait for further positions."""
BY_KEY = " FORCE INDEX (PRIMARY)"
"""A range of ids, or the scan that MariaDB prefers for a small table, locks the row that follows as well: on
MariaDB 11.8 it waits where that one's transaction is open. Ids named one by one lock their rows alone."""


def states(*, lock: str = "") -> list[FeedState]:
    """The feed's one row, or none before its first event; `lock` ends the statement."""
    return bulk_sql.reader(FeedState).models(f"id = {ROW}{lock}", bulk_sql.SqlLiterals())


def unsequenced() -> "QuerySet[FeedEvent]":
    return FeedEvent.objects.filter(position=None).order_by("id")


def sequence(*, most_batches: int | None = None) -> int:
    """Give positions to all committed events, in batches. Returns how many got one; 0 at once while another
    sequencer works. Safe to repeat. A reader, who is to be answered soon, does a batch at most.
    """
    if not _unsequenced_ids(1):
        return 0
    if not states():
        FeedState.objects.get_or_create(pk=ROW)
    sequenced = 0
    batches = 0
    while True:
        batches += 1
        # By all attempts: after a lost reply to the COMMIT the repeat finds nothing to do.
        given: set[int] = set()
        count = transactions.run(partial(_sequence_batch, given), transactions.REPEATABLE)
        if given:
            SEQUENCED.inc(len(given))
            completion_notifications.notify_completed(NOTIFICATION)
        sequenced += len(given)
        if count < EVENTS_PER_TRANSACTION or batches == most_batches:
            return sequenced


def leave_gap() -> None:
    """Leave a gap after the last position in a restored database.

    It bears the instant: that of an earlier restore of the same backup is another one, and readers whose
    cursors are of before this one are told.
    """

    def leave() -> None:
        state = FeedState.objects.select_for_update().get(pk=ROW)
        first = state.last_position + 1
        state.last_position += GAP
        state.gaps = [*state.gaps, [first, state.last_position, round(clock.seconds() * 1000)]]
        state.save(update_fields=["last_position", "gaps"])

    FeedState.objects.get_or_create(pk=ROW)
    transactions.run(leave, transactions.ONCE)


def _sequence_batch(given: set[int]) -> int:
    """Sequence one batch, and add the ids of its events. Returns how many got a position."""
    # A second sequencer leaves at once: the first one reads again until nothing is left.
    found = states(lock=bulk_sql.for_update(skip_locked=True))
    if not found:
        return 0
    ids = _unsequenced_ids(EVENTS_PER_TRANSACTION)
    position = found[0].last_position
    table = connection.ops.quote_name(FeedEvent._meta.db_table)
    hint = BY_KEY if connection.vendor == "mysql" else ""
    for first, last in _runs(ids):
        names = ",".join(map(str, range(first, last + 1)))
        bulk_sql.execute_deferred(
            f"UPDATE {table}{hint} SET position = id + ({position + 1 - first:d}) WHERE id IN ({names})"  # noqa: S608 - numbers
        )
        position += last - first + 1
    if ids:
        bulk_sql.update(
            FeedState, {"last_position": position}, condition=f"id = {ROW}", cells=bulk_sql.SqlLiterals()
        )
        given.update(ids)
    return len(ids)


def _unsequenced_ids(most: int) -> list[int]:
    condition = f"position IS NULL ORDER BY id LIMIT {most}"
    return [id for [id] in bulk_sql.reader(FeedEvent, ("id",)).rows(condition, bulk_sql.SqlLiterals())]


def _runs(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and the last of each run of consecutive ids."""
    start = 0
    for index in range(1, len(ids) + 1):
        if index == len(ids) or ids[index] != ids[index - 1] + 1:
            yield ids[start], ids[index - 1]
            start = index
