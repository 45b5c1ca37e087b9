"""Sequencing: committed events get consecutive positions, by one sequencer at a time.

Ids are drawn before the commit, so a reader that remembers the last id would skip events of slow
transactions. Under the lock of the feed's one row the sequencer reads which runs have committed, by ids, so
that an order's events stay in sequence, and commits their positions together with `last_position`: no lower
position is given afterwards.

While processes of release 2.0 may run, each event's row gets its position, as these do it and read it.
`finish_upgrade` ends that.
"""

from functools import partial

from django.db.models import F, QuerySet
from prometheus_client import Counter

from events.feed import positions, rows, runs
from events.models import FeedEvent, FeedState
from foundation import clock
from foundation.db import transactions
from foundation.redis import completion_notifications

SEQUENCED = Counter("firstcome_feed_events", "Events of the feed that got their positions.")
GAP = 1_000_000
"""More positions than are given between a restored state and the mishap."""
RUNS_PER_TRANSACTION = 2_000
RUNS_BACK_PER_TRANSACTION = 500
NOTIFICATION = "events"
"""The name by which readers wait for further positions."""


def unsequenced() -> "QuerySet[FeedEvent]":
    """The first event of each run that is committed and has no position."""
    return FeedEvent.objects.filter(position=None, run_offset=0).order_by("id")


def sequence(*, most_batches: int | None = None) -> int:
    """Give positions to all committed events, in batches. Returns how many got one; 0 at once while another
    sequencer works. Safe to repeat. A reader, who is to be answered soon, does a batch at most.
    """
    if not rows.read_unsequenced(1):
        return 0
    sequenced = 0
    batches = 0
    while True:
        # By all attempts: after a lost reply to the COMMIT the repeat finds nothing to do.
        given: dict[int, int] = {}
        count = transactions.run(partial(_sequence_batch, given), transactions.REPEATABLE)
        if not count and not rows.read_states():
            FeedState.objects.get_or_create(pk=rows.ROW)
            continue
        number = sum(given.values())
        if number:
            SEQUENCED.inc(number)
            completion_notifications.notify_completed(NOTIFICATION)
        sequenced += number
        batches += 1
        if count < RUNS_PER_TRANSACTION or batches == most_batches:
            return sequenced


def go_by_runs() -> None:
    """From now on give positions to runs, once no process of release 2.0 runs any more. Safe to repeat."""

    def work() -> bool:
        state = FeedState.objects.select_for_update().get(pk=rows.ROW)
        # A run has all of its positions, or none.
        if state.runs_after is None and _give_positions(state, {}) < RUNS_PER_TRANSACTION:
            FeedState.objects.update(runs_after=F("last_position"))
        return state.runs_after is not None

    FeedState.objects.get_or_create(pk=rows.ROW)
    while not transactions.run(work, transactions.REPEATABLE):
        completion_notifications.notify_completed(NOTIFICATION)


def go_by_events() -> None:
    """Write the positions of all events into their rows, and give further ones to single events, so that
    processes of release 2.0 may run. Safe to repeat after it was interrupted.
    """

    def work() -> bool:
        state = FeedState.objects.select_for_update().get(pk=rows.ROW)
        after = state.runs_after
        if after is None:
            return True
        last = state.last_position
        found = runs.read(state, after=after, until=last, most=RUNS_BACK_PER_TRANSACTION)
        for run in [run for run in found if run.length > 1]:
            events = FeedEvent.objects.filter(pk__in=range(run.id, run.id + run.length))
            events.update(position=F("pk") + (run.position - run.id))
        state.runs_after = found[-1].last_position if found else None
        state.save(update_fields=["runs_after"])
        return not found

    FeedState.objects.get_or_create(pk=rows.ROW)
    while not transactions.run(work, transactions.REPEATABLE):
        pass


def leave_gap() -> None:
    """Leave a gap after the last position in a restored database.

    It bears the instant: that of an earlier restore of the same backup is another one, and readers whose
    cursors are of before this one are told.
    """

    def leave() -> None:
        state = FeedState.objects.select_for_update().get(pk=rows.ROW)
        first = state.last_position + 1
        state.last_position += GAP
        state.gaps = [*state.gaps, [first, state.last_position, round(clock.seconds() * 1000)]]
        state.save(update_fields=["last_position", "gaps"])

    FeedState.objects.get_or_create(pk=rows.ROW)
    transactions.run(leave, transactions.ONCE)


def _sequence_batch(given: dict[int, int]) -> int:
    """Sequence one batch, and add its runs' lengths by their first ids. Returns how many runs it had."""
    # A second sequencer leaves at once: the first one reads again until nothing is left.
    found = rows.read_states(is_locked=True)
    return _give_positions(found[0], given) if found else 0


def _give_positions(state: FeedState, given: dict[int, int]) -> int:
    """As `_sequence_batch`, under the lock of this row."""
    is_by_run = state.runs_after is not None
    found = rows.read_unsequenced(RUNS_PER_TRANSACTION, is_by_run=is_by_run)
    if not is_by_run:
        found = positions.whole_runs(found, RUNS_PER_TRANSACTION)
    if found:
        lengths = dict(found)
        rows.give_positions(
            positions.following(state.last_position, lengths), state.last_position + sum(lengths.values())
        )
        given.update(lengths)
    return len(found)
