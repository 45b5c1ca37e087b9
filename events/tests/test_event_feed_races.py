"""Readers of the feed get every event once: in races, with late commits, over kills and lost answers."""

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import pytest

from events.feed import recording, rows, runs, sequencing
from events.models import FeedEvent, FeedState
from events.tests.following import Follower, publish, reader, record
from foundation import clock
from foundation.db import transactions
from foundation.redis import completion_notifications
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race, wait_until
from foundation.tests.second_process import another_process, starts_another_process
from foundation.tests.waiting import in_background

pytestmark = pytest.mark.django_db(transaction=True)
WRITERS, EVENTS_OF_EACH = 6, 30
HANGING_SEQUENCER = """
from django.db import connection
from events.feed import sequencing

def hang(execute, sql, parameters, many, context):
    is_it = sql.startswith("UPDATE") and "last_position" in sql
    if is_it and sys.argv[1] == "before":
        print("ready", flush=True)
        sys.stdin.readline()
    result = execute(sql, parameters, many, context)
    if is_it:
        print("ready", flush=True)
        sys.stdin.readline()
    return result

with connection.execute_wrapper(hang):
    sequencing.sequence()
"""


def late_transaction(name: str) -> Callable[[], object]:
    """A transaction that has drawn its id, and commits once this is called."""
    has_inserted, may_commit = threading.Event(), threading.Event()

    def work():
        row = recording.NewEvent(uuid4(), "order.paid", None, clock.now(), f'{{"name": "{name}"}}')
        rows.insert_events([row])
        # The statement was deferred: any other one takes it along.
        FeedState.objects.exists()
        has_inserted.set()
        assert may_commit.wait(30)

    future = in_background(lambda: transactions.run(work, transactions.ONCE))
    assert has_inserted.wait(30)
    return lambda: (may_commit.set(), future.result())


def test_a_transaction_that_commits_late_is_not_skipped_as_it_is_by_ids():
    """Open transactions have ids before, between and after those that are sequenced meanwhile."""
    follower, seen = Follower(reader()), list[FeedEvent]()

    def read_by_ids():
        """The naive reader, whose cursor is the greatest id that it has seen."""
        seen.extend(FeedEvent.objects.filter(id__gt=seen[-1].pk if seen else 0).order_by("id"))
        return [event.data["name"] for event in seen]

    first = late_transaction("first")
    record("a")
    second = late_transaction("second")
    record("b", "c")
    third = late_transaction("third")

    assert sequencing.sequence() == 3
    assert follower.read_all() == ["a", "b", "c"]
    read_by_ids()
    for commit in (second, first, third):
        commit()
        assert sequencing.sequence() == 1

    assert follower.read_all() == ["a", "b", "c", "second", "first", "third"]
    assert read_by_ids() == ["a", "b", "c", "third"], "ids are drawn before the commit"


def test_every_reader_gets_every_event_once_while_writers_and_sequencers_race():
    is_over = threading.Event()
    followers = [Follower(reader(), limit=limit) for limit in (7, 50, 200)]
    written = [[f"{writer}-{number}" for number in range(EVENTS_OF_EACH)] for writer in range(WRITERS)]

    def write(names):
        for start in range(0, len(names), 3):
            record(*names[start : start + 3])

    def sequence():
        while not is_over.is_set():
            sequencing.sequence()

    def follow(follower):
        while len(follower.names) < WRITERS * EVENTS_OF_EACH:
            follower.read()

    def follow_all():
        try:
            outcomes = race([partial(follow, each) for each in followers], timeout=50)
        finally:
            is_over.set()
        assert outcomes == [None] * len(followers)

    outcomes = race([*(partial(write, names) for names in written), sequence, sequence, follow_all])

    assert outcomes == [None] * (WRITERS + 3)
    everything = sorted(name for names in written for name in names)
    for follower in followers:
        assert sorted(follower.names) == everything
        assert follower.names == followers[0].names
        for names in written:
            # One after the other wrote these, as the transactions of an order do.
            assert [name for name in follower.names if name in set(names)] == names
    positions = runs.with_positions().order_by("feed_position").values_list("feed_position", flat=True)
    assert list(positions) == list(range(1, len(everything) + 1))


@starts_another_process
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_sequencer_that_is_killed_between_statements_has_done_nothing(moment):
    FeedState.objects.get_or_create(pk=rows.ROW)
    record("a", "b")
    follower = Follower(reader())
    with another_process(HANGING_SEQUENCER, moment) as process:
        # The other one works: this one leaves.
        assert sequencing.sequence() == 0
        assert follower.read_all() == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    record("c")
    sequenced = 0

    def all_are_sequenced():
        nonlocal sequenced
        sequenced += sequencing.sequence()
        return sequenced == 3

    wait_until(all_are_sequenced)
    assert follower.read_all() == ["a", "b", "c"]


def test_a_pass_whose_commits_answer_is_lost_gives_one_position_each_and_wakes_readers(tmp_path, monkeypatch):
    woken = []
    monkeypatch.setattr(completion_notifications, "notify_completed", woken.append)
    FeedState.objects.get_or_create(pk=rows.ROW)
    record("a", "b")
    follower = Follower(reader())
    with losing_reply_to_commit(tmp_path) as is_lost:
        assert sequencing.sequence() == 2
        assert (is_lost.is_set(), woken) == (True, [sequencing.NOTIFICATION])
    publish("c")
    assert follower.read_all() == ["a", "b", "c"]
    assert FeedState.objects.get().last_position == 3
