import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from random import Random
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from hypothesis import HealthCheck, example, given, settings, strategies as draw

from foundation import journal
from foundation.concurrency import batching
from foundation.concurrency.batching import LEADER_POOL, Batcher, run_without_transaction
from foundation.concurrency.thread_pool import ThreadPool
from foundation.db.transactions import OutcomeUnknown
from foundation.errors import FirstcomeError, Overloaded, Rejected, Unavailable
from foundation.journal import ActorContext
from foundation.tests import tally
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_connection import another_connection, ask, holding
from foundation.tests.statements import captured_statements
from foundation.tests.test_transactions import conflict_for
from foundation.tests.waiting import waiting_at, within

kinds = draw.sampled_from(["counted", "refused", "raising", "repeating"])
names = draw.lists(kinds, min_size=1, max_size=12).map(
    lambda kinds: [f"{kind}-{number}" for number, kind in enumerate(kinds)]
)
# Each example is a race on the real database: few of them, without a deadline.
races = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HOT = (tally.LOCK, tally.HOT)
# For outcomes that follow the release of a lock or an error: well before a batcher's wait ends.
SOON = 5.0


Decision = Callable[[Sequence[Any]], Sequence[Any]]


class Gate:
    """A decision that blocks in its first batch until it is opened, and records every batch.

    `then` decides the later ones.
    """

    def __init__(self, decide=tally.count, *, then=None):
        self.batches: list[list[Any]] = []
        self.is_open = threading.Event()
        self._decide, self._then = decide, then

    def __call__(self, requests):
        self.batches.append(list(requests))
        if self._then and self.is_open.is_set():
            return self._then(requests)
        outcomes = self._decide(requests)
        assert self.is_open.wait(60), "the gate was not opened"
        return outcomes


class Submission(threading.Thread):
    def __init__(self, batcher, request):
        super().__init__(daemon=True)
        self.batcher, self.request, self.outcome = batcher, request, None
        self.start()

    def run(self):
        try:
            self.outcome = self.batcher.submit(self.request)
        except BaseException as error:
            self.outcome = error
        finally:
            connections.close_all()

    def result(self, *, within=60.0):
        self.join(within)
        assert not self.is_alive(), f"{self.request} never got an outcome"
        return self.outcome


def submit_in_order(batcher: Batcher[Any, Any], requests: Sequence[Any]) -> list[Submission]:
    submissions = []
    for request in requests:
        length = len(batcher._queue)
        submissions.append(Submission(batcher, request))
        wait_until(lambda length=length: len(batcher._queue) > length)
    return submissions


def opened(decide: Decision) -> Gate:
    gate = Gate(decide)
    gate.is_open.set()
    return gate


def lock_rows(rows: Sequence[int]) -> Sequence[int]:
    for row in rows:
        ask(connection, tally.LOCK, row)
    return rows


@contextmanager
def led_by(batcher: Batcher[Any, Any], gate, request="leading") -> Iterator[Submission]:
    """While this lasts, the leader's transaction stays open and later requests wait in the queue."""
    leader = Submission(batcher, request)
    wait_until(lambda: len(gate.batches) == 1)
    try:
        yield leader
    finally:
        gate.is_open.set()


@races
@given(names=names, max_batch=draw.integers(1, 8))
@example(names=["repeating-0", "counted-1", "raising-2", "refused-3", "counted-4"], max_batch=8)
def test_each_request_gets_its_own_outcome_and_a_faulty_one_fails_alone(counting, names, max_batch):
    tally.reset()
    batcher = Batcher(tally.count, max_batch=max_batch)
    outcomes = dict(zip(names, race_each(batcher.submit, names), strict=True))
    wrong = {name: outcome for name, outcome in outcomes.items() if not is_due(name, outcome)}
    assert wrong == {}
    accepted = {name: outcome for name, outcome in outcomes.items() if name.startswith("counted")}
    assert tally.entries() == accepted
    assert sorted(accepted.values()) == list(range(1, len(accepted) + 1))
    assert tally.counted() == len(accepted)


def is_due(name: str, outcome) -> bool:
    match name.partition("-")[0]:
        case "refused":
            return isinstance(outcome, Rejected) and outcome.detail == name
        case "raising":
            return isinstance(outcome, ValueError) and outcome.args == (name,)
        case "repeating":
            return isinstance(outcome, IntegrityError)
    return isinstance(outcome, int)


@races
@given(size=draw.integers(0, 12), max_batch=draw.integers(1, 5))
def test_requests_are_decided_in_order_of_arrival_and_batches_are_bounded(counting, size, max_batch):
    tally.reset()
    gate = Gate()
    batcher = Batcher(gate, max_batch=max_batch)
    with led_by(batcher, gate) as leader:
        followers = submit_in_order(batcher, [f"follower-{number}" for number in range(size)])
    assert [submission.result() for submission in [leader, *followers]] == list(range(1, size + 2))
    assert [name for batch in gate.batches for name in batch] == [
        "leading",
        *(follower.request for follower in followers),
    ]
    sizes = [min(max_batch, size - start) for start in range(0, size, max_batch)]
    assert [len(batch) for batch in gate.batches[1:]] == sizes


def test_a_batch_is_one_transaction_and_no_request_is_answered_before_its_commit(counting):
    first, second = Gate(), Gate()
    gates = iter([first, second])
    batcher = Batcher(lambda requests: next(gates)(requests))
    with captured_statements() as statements:
        with led_by(batcher, first) as leader:
            followers = submit_in_order(batcher, [f"follower-{number}" for number in range(9)])
        wait_until(lambda: len(second.batches) == 1)
        # The second batch is written but not committed.
        assert set(tally.entries()) == {"leading"}
        assert all(follower.is_alive() for follower in followers)
        second.is_open.set()
        assert [submission.result() for submission in [leader, *followers]] == list(range(1, 11))
    assert [len(batch) for batch in (*first.batches, *second.batches)] == [1, 9]
    assert statements.count("COMMIT") == 2
    assert sum(statement.startswith("UPDATE") for statement in statements) == 2


def test_64_threads_count_exactly_share_transactions_and_see_their_rows_with_the_outcome(counting):
    gate = opened(tally.count)
    batcher = Batcher(gate)

    def submit(name):
        position = batcher.submit(name)
        return position, ask(connection, "SELECT position FROM tally_entry WHERE name = %s", name)

    fives = race_each(lambda racer: [submit(f"{racer}-{turn}") for turn in range(5)], range(64))
    results = [each for five in fives for each in five]
    assert sorted(position for position, _ in results) == list(range(1, 321))
    assert [seen for _, seen in results] == [[(position,)] for position, _ in results]
    assert tally.counted() == 320
    assert sum(map(len, gate.batches)) == 320
    assert len(gate.batches) < 160


def test_without_a_lock_the_same_count_loses_updates(counting):
    """The naive version: both read before either writes, as two concurrent requests may."""
    both_have_read = threading.Barrier(2, timeout=10)

    def count():
        value = tally.counted()
        both_have_read.wait()
        ask(connection, "UPDATE tally SET value = %s WHERE id = %s", value + 1, tally.HOT)

    race([count, count])
    assert tally.counted() == 1


def test_a_full_queue_refuses_at_once(counting):
    gate = Gate()
    batcher = Batcher(gate, max_waiting=2)
    with led_by(batcher, gate) as leader:
        waiting = submit_in_order(batcher, ["second", "third"])
        refused = Submission(batcher, "fourth")
        assert isinstance(refused.result(within=SOON), Overloaded)
    assert [submission.result() for submission in [leader, *waiting]] == [1, 2, 3]
    assert "fourth" not in tally.entries()


def test_a_request_that_waits_too_long_is_refused_and_not_decided(counting):
    first, second = Gate(), Gate()
    gates = iter([first, second])
    batcher = Batcher(lambda requests: next(gates)(requests), wait_seconds=2.0, max_batch=1)
    results = SimpleQueue()
    for name in ("first", "second", "third"):
        batcher.enter(name, results.put)
    time.sleep(1.0)
    first.is_open.set()
    assert results.get(timeout=SOON) == 1
    assert isinstance(results.get(timeout=SOON), Overloaded)
    second.is_open.set()
    assert results.get(timeout=SOON) == 2
    assert tally.entries() == {"first": 1, "second": 2}


def is_unknown(outcome) -> bool:
    return isinstance(outcome, Unavailable) and not isinstance(outcome, Overloaded)


@pytest.mark.parametrize("death", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_if_the_leader_dies_its_batch_gets_outcomes_and_the_next_one_runs(counting, death):
    gate = Gate()

    def decide(requests):
        outcomes = gate(requests)
        if "dying" in requests:
            raise death()
        return outcomes

    batcher = Batcher(decide, max_batch=2)
    with led_by(batcher, gate):
        dying, beside, after = submit_in_order(batcher, ["dying", "beside", "after"])
    assert is_unknown(dying.result(within=SOON))
    assert is_unknown(beside.result(within=SOON))
    assert after.result(within=SOON) == 2
    assert tally.entries() == {"leading": 1, "after": 2}


def test_no_request_waits_forever_for_a_leader_that_hangs(counting):
    """The leader and its batch wait for a row that another client locks; later requests don't need it."""
    gate = Gate(lock_rows)
    batcher = Batcher(gate, wait_seconds=0.6, max_batch=2)
    with holding(*HOT):
        with led_by(batcher, gate, tally.OTHER):
            hanging, beside, after = submit_in_order(batcher, [tally.HOT, tally.OTHER, tally.OTHER])
        assert is_unknown(hanging.result(within=SOON))
        assert is_unknown(beside.result(within=SOON))
        assert isinstance(after.result(within=SOON), Overloaded)
        assert Submission(batcher, tally.OTHER).result(within=SOON) == tally.OTHER
    assert Submission(batcher, tally.HOT).result(within=SOON) == tally.HOT
    wait_until(lambda: not batcher.is_busy())


def test_a_leader_assumed_dead_takes_no_further_batch(counting):
    first, second, third = (Gate(lambda requests: requests) for _ in range(3))
    gates = iter([first, second, third])
    batcher = Batcher(lambda requests: next(gates)(requests), wait_seconds=1.5)
    with led_by(batcher, first, "slow") as slow:
        assert is_unknown(slow.result(within=SOON))
        heir = Submission(batcher, "heir")
        wait_until(lambda: second.batches == [["heir"]])
        waiting = submit_in_order(batcher, ["waiting"])[0]
        assert LEADER_POOL.busy() == 2
    # The second leader is still active: the first one, done with its batch, must not take the next.
    wait_until(lambda: LEADER_POOL.busy() == 1)
    assert (len(batcher._queue), third.batches) == (1, [])
    second.is_open.set()
    third.is_open.set()
    assert heir.result(within=SOON) == "heir"
    assert waiting.result(within=SOON) == "waiting"


def test_an_expired_request_is_not_decided_when_a_failed_batch_is_retried_one_by_one(counting):
    first = Gate(lambda requests: requests)
    alone = Gate(tally.count)

    def decide(requests):
        if len(requests) > 1:
            raise ValueError("not as a batch")
        return {"leading": first, "slow": alone}.get(requests[0], tally.count)(requests)

    batcher = Batcher(decide, wait_seconds=0.3)
    with led_by(batcher, first):
        slow, given_up = submit_in_order(batcher, ["slow", "given up"])
    assert is_unknown(slow.result(within=SOON))
    assert is_unknown(given_up.result(within=SOON))
    assert alone.batches == [["slow"]]
    alone.is_open.set()
    wait_until(lambda: LEADER_POOL.busy() == 0)
    assert tally.entries() == {"slow": 1}


def test_inside_a_transaction_a_request_is_part_of_it_and_a_failure_leaves_the_rest_intact(counting):
    gate = opened(tally.count)
    batcher = Batcher(gate)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert batcher.submit("first") == 1
        assert batcher.submit("second") == 2
        raise ZeroDivisionError
    assert gate.batches == [["first"], ["second"]]
    assert tally.entries() == {}
    with transaction.atomic():
        assert batcher.submit("first") == 1
        for name, error in (
            ("repeating", IntegrityError),
            ("raising", ValueError),
            ("refused", FirstcomeError),
        ):
            with pytest.raises(error):
                batcher.submit(name)
        assert batcher.submit("second") == 2
    assert tally.entries() == {"first": 1, "second": 2}


def test_a_deadlocked_batch_is_retried_as_a_whole(counting):
    """The batch holds the hot row and waits for the other; a second connection does the reverse."""
    has_hot = threading.Event()

    def decide(requests):
        outcomes = tally.count(requests)
        has_hot.set()
        ask(connection, tally.LOCK, tally.OTHER)
        return outcomes

    gate = Gate(lambda requests: [0 for _ in requests], then=decide)
    batcher = Batcher(gate)
    with another_connection() as other:
        other.set_autocommit(False)
        ask(other, tally.LOCK, tally.OTHER)
        with led_by(batcher, gate):
            followers = submit_in_order(batcher, ["first", "second", "third"])
        assert has_hot.wait(10)
        tally.make_heavy(other)
        ask(other, tally.LOCK, tally.HOT)
        other.rollback()
    assert [submission.result() for submission in followers] == [1, 2, 3]
    [_, *batches] = gate.batches
    assert batches == [["first", "second", "third"]] * 2


def test_a_batch_that_conflicts_every_time_is_run_one_by_one(counting):
    """A trigger raises the server's own error 1213 for one name, each time."""
    gate = Gate(lambda requests: [0 for _ in requests], then=tally.count)
    batcher = Batcher(gate)
    with conflict_for("unlucky", 1213):
        with led_by(batcher, gate):
            before, unlucky, after = submit_in_order(batcher, ["before", "unlucky", "after"])
        assert (before.result(), after.result()) == (1, 2)
        assert isinstance(unlucky.result(), Unavailable)
    [_, *batches] = gate.batches
    assert batches == [["before", "unlucky", "after"]] * 4 + [["before"]] + [["unlucky"]] * 4 + [["after"]]
    assert tally.entries() == {"before": 1, "after": 2}


@pytest.mark.parametrize("fault", ["raising", "repeating"])
@pytest.mark.parametrize("place", [0, 101, 199])
def test_one_faulty_request_of_200_costs_its_neighbours_few_transactions(counting, fault, place):
    gate = Gate(lambda requests: [0 for _ in requests], then=tally.count)
    batcher = Batcher(gate)
    names = [f"counted-{number}" for number in range(200)]
    names[place] = f"{fault}-{place}"
    outcomes = {}
    with led_by(batcher, gate):
        for name in names:
            batcher.enter(name, partial(outcomes.__setitem__, name))
    wait_until(lambda: len(outcomes) == len(names))
    [_, *batches] = gate.batches
    assert len(batches) <= 20
    faulty = outcomes.pop(names[place])
    assert isinstance(faulty, ValueError if fault == "raising" else IntegrityError)
    assert outcomes == {name: number for number, name in enumerate(outcomes, start=1)}
    assert tally.entries() == outcomes


def test_a_batch_whose_commit_may_have_succeeded_is_not_reported_as_undone(counting, tmp_path):
    """Run one by one its members would conflict as well, and be reported as undone."""
    batches = []
    gate = Gate(lambda requests: [0 for _ in requests])

    def decide(requests):
        if not gate.is_open.is_set():
            gate(requests)
            raise ValueError("nothing to commit")
        batches.append(list(requests))
        if len(batches) > 1:
            raise OperationalError(1213, "injected")
        return tally.count(requests)

    batcher = Batcher(decide)
    with losing_reply_to_commit(tmp_path) as is_lost:
        with led_by(batcher, gate):
            members = submit_in_order(batcher, ["one", "two"])
        outcomes = [member.result() for member in members]
        assert is_lost.is_set()
    assert all(isinstance(outcome, OutcomeUnknown) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 2, "each raises its own"
    assert batches == [["one", "two"]] * 4
    assert tally.entries() == {"one": 1, "two": 2}


@pytest.mark.parametrize("outcomes", [[], [1, 2, 3]])
def test_a_decision_with_too_few_outcomes_is_an_error_and_writes_nothing(counting, outcomes):
    def decide(requests):
        tally.count(requests)
        return outcomes

    with pytest.raises(RuntimeError, match="1 requests got"):
        Batcher(decide).submit("first")
    assert tally.entries() == {}


def test_a_batcher_with_an_interval_keeps_it_between_batches(transactional_db):
    """A request that enters an idle batcher doesn't wait."""
    began = []

    def decide(requests):
        # Not the time of this call: a busy machine delays one more than the next.
        began.append(batcher._began_at)
        return requests

    batcher = Batcher(decide, min_interval_seconds=0.3, run=run_without_transaction)
    outcomes = race_each(lambda number: [batcher.submit(number) for _ in range(3)], range(20))

    assert outcomes == [[number] * 3 for number in range(20)]
    assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(began))
    assert len(began) <= 6, "nearly all share a batch with others"

    def seconds_when_idle():
        wait_until(lambda: time.monotonic() - began[-1] > 0.3)
        started_at = time.monotonic()
        batcher.submit(1)
        return time.monotonic() - started_at

    # Other work of the machine can delay any single one.
    assert any(seconds_when_idle() < 0.2 for _ in range(5))


def test_a_leader_that_lingers_gets_the_rest_of_a_burst(transactional_db):
    gate = opened(list)
    batcher = Batcher(gate, linger_seconds=1.0, run=run_without_transaction)
    results = SimpleQueue()
    for number in range(3):
        batcher.enter(number, results.put)
        wait_until(lambda: LEADER_POOL.busy() > 0)
    assert [results.get(timeout=SOON) for _ in range(3)] == [0, 1, 2]
    assert gate.batches == [[0, 1, 2]]


def test_a_batch_does_not_run_in_the_context_of_its_requests(transactional_db):
    seen = []

    def decide(requests):
        seen.append(journal.current_actor())
        journal.identify_actor(account_id=1, is_staff=True)
        return requests

    batcher = Batcher(decide, run=run_without_transaction)
    for account_id in (7, 8):
        with journal.acting(ActorContext(journal.Actor.ACCOUNT, account_id)):
            batcher.submit(1)
            wait_until(lambda: not batcher.is_busy())
    assert seen == [journal.SYSTEM] * 2


def test_an_outcome_that_cannot_be_delivered_does_not_affect_the_others(transactional_db):
    gate = Gate(list)
    batcher = Batcher(gate, run=run_without_transaction)
    results = SimpleQueue()

    def refuse(outcome):
        results.put("refused")
        raise SystemExit

    with led_by(batcher, gate, 0):
        for number, on_result in enumerate((refuse, results.put, refuse, results.put)):
            batcher.enter(number, on_result)
    assert [results.get(timeout=SOON) for _ in range(4)] == ["refused", 1, "refused", 3]
    assert batcher.submit(4) == 4


def test_each_request_has_one_result_if_outcomes_and_deadlines_race(transactional_db, monkeypatch):
    """Batches take about as long as their deadlines."""
    wait_seconds = 0.05
    monkeypatch.setattr(batching, "DEADLINE_CHECK_SECONDS", wait_seconds / 4)
    random = Random(14)

    def decide(requests):
        time.sleep(random.uniform(0.5, 1.5) * wait_seconds)
        return requests

    batcher = Batcher(decide, wait_seconds=wait_seconds, run=run_without_transaction)
    results = SimpleQueue()
    numbers = range(300)
    for number in numbers:
        batcher.enter(number, lambda outcome, number=number: results.put((number, outcome)))
        time.sleep(0.003)
    wait_until(lambda: not batcher.is_busy() and LEADER_POOL.busy() == 0)
    answered = [results.get_nowait() for _ in numbers]
    assert results.empty()
    assert sorted(number for number, _ in answered) == list(numbers)
    assert all(outcome == number or isinstance(outcome, Unavailable) for number, outcome in answered)
    assert any(outcome == number for number, outcome in answered)
    assert any(is_unknown(outcome) for _, outcome in answered)


def test_a_batch_that_waits_for_a_row_delays_no_other_batcher(counting):
    stuck = Batcher(lock_rows)
    others = [Batcher(list) for _ in range(19)]
    with holding(*HOT):
        waiting = Submission(stuck, tally.HOT)
        wait_until(lambda: waiting_at(f"{tally.LOCK.partition('%')[0]}%") == 1)
        with within(2.0):
            outcomes = race(
                [
                    lambda batcher=batcher, number=number: batcher.submit(number)
                    for batcher in others
                    for number in (1, 2, 3)
                ]
            )
            assert outcomes == [1, 2, 3] * 19
        assert waiting.is_alive()
    assert waiting.result() == tally.HOT


def test_more_hot_batchers_than_leaders_take_turns(transactional_db, monkeypatch):
    monkeypatch.setattr(batching, "LEADER_POOL", ThreadPool("one", threads=1, max_waiting=100))
    gate = Gate(list)
    hot = [Batcher(gate, max_batch=1, run=run_without_transaction) for _ in range(3)]
    results = SimpleQueue()
    for number, batcher in enumerate(hot):
        for _ in range(5):
            batcher.enter(number, results.put)
    gate.is_open.set()
    assert [results.get(timeout=SOON) for _ in range(15)] == [0, 1, 2] * 5


def test_idle_batchers_hold_no_leader_and_need_no_deadline_checks(transactional_db):
    batchers = [Batcher(list, run=run_without_transaction) for _ in range(10)]
    race_each(lambda batcher: batcher.submit(1), batchers)
    wait_until(lambda: LEADER_POOL.busy() == 0)
    assert not any(batcher.is_busy() for batcher in batchers)
    wait_until(lambda: not batching._busy)


def test_a_request_without_a_leader_is_refused_and_not_queued(transactional_db, monkeypatch):
    gate = opened(list)
    batcher = Batcher(gate, run=run_without_transaction)
    with monkeypatch.context() as narrow:
        narrow.setattr(batching, "LEADER_POOL", ThreadPool("none", threads=0, max_waiting=0))
        with pytest.raises(Overloaded):
            batcher.submit(1)
    assert batcher.submit(2) == 2
    assert gate.batches == [[2]]
