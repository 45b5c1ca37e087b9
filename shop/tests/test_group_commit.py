import ctypes
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as draw

from shop.errors import FirstcomeError, Overloaded, Rejected, Unavailable
from shop.group_commit import PENDING, Batcher, _Waiter
from shop.tests import tally
from shop.tests.lost_replies import losing_reply_to_commit
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import another_connection, ask, holding
from shop.transactions import OutcomeUnknown

KINDS = ("counted", "refused", "raising", "repeating")
names = draw.lists(draw.sampled_from(KINDS), min_size=1, max_size=12).map(
    lambda kinds: [f"{kind}-{number}" for number, kind in enumerate(kinds)]
)
# Each example is a race on the real database: fewer of them, and as long as they take.
races = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HOT = (tally.LOCK, tally.HOT)
# Outcomes that come once a lock is released or an error has passed on: well before a batcher's wait ends.
SOON = 5.0


class Gate:
    """A decision that stops at its first batch until it is let go, and remembers every batch."""

    def __init__(self, decide: Callable[[Sequence[Any]], Sequence[Any]] = tally.count) -> None:
        self.batches: list[list[Any]] = []
        self.is_open = threading.Event()
        self._decide = decide

    def __call__(self, requests: Sequence[Any]) -> Sequence[Any]:
        self.batches.append(list(requests))
        outcomes = self._decide(requests)
        assert self.is_open.wait(60), "nobody opened the gate"
        return outcomes


class Submission(threading.Thread):
    """A request that is on its way."""

    def __init__(self, batcher: Batcher[Any, Any], request: Any) -> None:
        super().__init__(daemon=True)
        self.batcher, self.request, self.outcome, self.seconds = batcher, request, None, 0.0
        self.start()

    def run(self) -> None:
        started_at = time.monotonic()
        try:
            self.outcome = self.batcher.submit(self.request)
        except BaseException as error:
            self.outcome = error
        finally:
            self.seconds = time.monotonic() - started_at
            connections.close_all()

    def result(self, *, within: float = 60.0) -> Any:
        self.join(within)
        assert not self.is_alive(), f"{self.request} never came back"
        return self.outcome


def submit_in_order(batcher: Batcher[Any, Any], requests: Sequence[Any]) -> list[Submission]:
    """Submit one after another, each once the one before it stands in line."""
    submissions = []
    for request in requests:
        length = len(batcher._queue)
        submissions.append(Submission(batcher, request))
        wait_until(lambda length=length: len(batcher._queue) > length)
    return submissions


@contextmanager
def led_by(batcher: Batcher[Any, Any], gate: Gate, request: Any = "leading") -> Iterator[Submission]:
    """While this lasts, the leader's transaction stays open and everybody else waits in line."""
    leader = Submission(batcher, request)
    wait_until(lambda: len(gate.batches) == 1)
    try:
        yield leader
    finally:
        gate.is_open.set()


@races
@given(names=names, max_batch=draw.integers(1, 8))
@example(names=["repeating-0", "counted-1", "raising-2", "refused-3", "counted-4"], max_batch=8)
def test_each_request_gets_its_own_outcome_and_a_poisonous_one_fails_alone(
    counting: None, names: list[str], max_batch: int
) -> None:
    tally.reset()
    batcher = Batcher(tally.count, max_batch=max_batch)
    outcomes = dict(zip(names, race([lambda name=name: batcher.submit(name) for name in names]), strict=True))
    wrong = {name: outcome for name, outcome in outcomes.items() if not is_due(name, outcome)}
    assert wrong == {}
    accepted = {name: outcome for name, outcome in outcomes.items() if name.startswith("counted")}
    assert tally.entries() == accepted
    assert sorted(accepted.values()) == list(range(1, len(accepted) + 1))
    assert tally.counted() == len(accepted)


def is_due(name: str, outcome: Any) -> bool:
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
def test_arrival_order_is_decision_order_and_batches_are_bounded(
    counting: None, size: int, max_batch: int
) -> None:
    tally.reset()
    gate = Gate()
    batcher = Batcher(gate, max_batch=max_batch)
    with led_by(batcher, gate) as leader:
        followers = submit_in_order(batcher, [f"follower-{number}" for number in range(size)])
    assert [one.result() for one in [leader, *followers]] == list(range(1, size + 2))
    assert [name for batch in gate.batches for name in batch] == [
        "leading",
        *(one.request for one in followers),
    ]
    assert [len(batch) for batch in gate.batches[1:]] == expected_sizes(size, max_batch)


def expected_sizes(size: int, max_batch: int) -> list[int]:
    return [min(max_batch, size - start) for start in range(0, size, max_batch)]


def test_a_batch_is_one_transaction(counting: None) -> None:
    statements: list[str] = []
    gate = Gate()
    batcher = Batcher(gate)

    class Watched(Submission):
        def run(self) -> None:
            with CaptureQueriesContext(connection) as captured:
                super().run()
            statements.extend(query["sql"] for query in captured)

    leader = Watched(batcher, "leading")
    wait_until(lambda: len(gate.batches) == 1)
    followers = [Watched(batcher, f"follower-{number}") for number in range(9)]
    wait_until(lambda: len(batcher._queue) == 9)
    gate.is_open.set()
    for one in [leader, *followers]:
        assert isinstance(one.result(), int)
    assert [len(batch) for batch in gate.batches] == [1, 9]
    assert statements.count("COMMIT") == 2
    assert sum(statement.startswith("UPDATE") for statement in statements) == 2


def test_nobody_is_answered_before_the_commit_and_everybody_right_after(counting: None) -> None:
    first, second = Gate(), Gate()
    gates = iter([first, second])
    batcher: Batcher[str, int] = Batcher(lambda requests: next(gates)(requests))
    with led_by(batcher, first):
        submit_in_order(batcher, ["follower-1", "follower-2"])
    wait_until(lambda: len(second.batches) == 1)
    third = Submission(batcher, "follower-3")
    # The second batch is written but not committed.
    assert set(tally.entries()) == {"leading"}
    assert third.is_alive()
    second.is_open.set()


def test_a_follower_that_has_its_outcome_sees_its_row_on_its_own_connection(counting: None) -> None:
    batcher = Batcher(tally.count)

    def submit_and_look(name: str) -> tuple[int, list[Any]]:
        position = batcher.submit(name)
        return position, ask(connection, "SELECT position FROM tally_entry WHERE name = %s", name)

    results = race([lambda name=f"name-{number}": submit_and_look(name) for number in range(24)])
    assert [seen for _, seen in results] == [[(position,)] for position, _ in results]


def test_64_threads_count_exactly_and_share_transactions(counting: None) -> None:
    batches: list[int] = []

    def decide(requests: Sequence[str]) -> list[int | Exception]:
        batches.append(len(requests))
        return tally.count(requests)

    batcher = Batcher(decide)

    def submit_five(racer: int) -> list[int]:
        return [batcher.submit(f"{racer}-{turn}") for turn in range(5)]

    positions = [p for five in race([lambda r=r: submit_five(r) for r in range(64)]) for p in five]
    assert sorted(positions) == list(range(1, 321))
    assert tally.counted() == 320
    assert sum(batches) == 320
    assert len(batches) < 160


def test_without_a_lock_the_same_count_loses(counting: None) -> None:
    """The naive twin: everybody reads before anybody writes, as two requests at once may."""
    both_have_read = threading.Barrier(2, timeout=10)

    def count() -> None:
        value = tally.counted()
        both_have_read.wait()
        ask(connection, "UPDATE tally SET value = %s WHERE id = %s", value + 1, tally.HOT)

    race([count, count])
    assert tally.counted() == 1


def test_a_full_line_refuses_at_once(counting: None) -> None:
    gate = Gate()
    batcher = Batcher(gate, max_waiting=2)
    with led_by(batcher, gate) as leader:
        waiting = submit_in_order(batcher, ["second", "third"])
        refused = Submission(batcher, "fourth")
        assert isinstance(refused.result(within=SOON), Overloaded)
    assert [one.result() for one in [leader, *waiting]] == [1, 2, 3]
    assert "fourth" not in tally.entries()


def test_whoever_waits_too_long_for_a_turn_is_refused_and_nothing_is_done(counting: None) -> None:
    batcher = Batcher(tally.count, wait_seconds=0.5, max_batch=1)
    with holding(*HOT):
        leader = Submission(batcher, "leading")
        wait_until(lambda: batcher._lead is not None and not batcher._queue)
        follower = Submission(batcher, "follower")
        assert isinstance(follower.result(within=SOON), Overloaded)
        assert follower.seconds < 1.5
    assert leader.result() == 1
    assert tally.entries() == {"leading": 1}


def test_a_batch_whose_members_gave_up_or_died_is_told_without_waiting_for_them(counting: None) -> None:
    """Each wakes another, and two of them in a row are not there to do so."""
    first, second = Gate(lambda requests: requests), Gate(lambda requests: requests)
    gates = iter([first, second])
    batcher: Batcher[str, str] = Batcher(lambda requests: next(gates)(requests))
    with led_by(batcher, first):
        names = ["heir", "second", "killed", "given up", "fifth", "sixth", "seventh", "eighth"]
        batch = submit_in_order(batcher, names)
        waiters = list(batcher._queue)
    wait_until(lambda: len(second.batches) == 1)
    kill(batch[2])
    waiters[2].signal()
    waiters[3].has_left = True
    give_up(batcher, waiters[3])
    assert isinstance(batch[2].result(within=SOON), SystemExit)
    second.is_open.set()
    answers = [one.result(within=SOON) for one in batch]
    assert [answer for answer in answers if isinstance(answer, str)] == [
        name for name in names if name != "killed"
    ]
    assert (batcher._leader, list(batcher._queue)) == (None, [])


def give_up(batcher: Batcher[Any, Any], waiter: _Waiter[Any]) -> None:
    """What a thread does that goes before its batch is told."""
    batcher._wake_follower(waiter)
    assert waiter.is_gone


@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_all_of_a_batch_are_woken_though_few_at_once(counting: None, size: int) -> None:
    gate = Gate(lambda requests: requests)
    batcher: Batcher[int, int] = Batcher(gate)
    with led_by(batcher, gate):
        followers = submit_in_order(batcher, range(size))
    assert [one.result(within=SOON) for one in followers] == list(range(size))
    assert [len(batch) for batch in gate.batches] == [1, size]


@pytest.mark.parametrize("death", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_when_the_leader_is_interrupted_its_batch_is_told_and_the_next_goes_on(
    counting: None, death: type[BaseException]
) -> None:
    gate = Gate()

    def decide(requests: Sequence[str]) -> Sequence[Any]:
        outcomes = gate(requests)
        if "dying" in requests:
            raise death()
        return outcomes

    batcher = Batcher(decide, max_batch=2)
    with led_by(batcher, gate):
        dying, beside, after = submit_in_order(batcher, ["dying", "beside", "after"])
    assert isinstance(dying.result(within=SOON), death)
    assert isinstance(beside.result(within=SOON), Unavailable)
    assert after.result(within=SOON) == 2
    assert tally.entries() == {"leading": 1, "after": 2}


def test_a_waiter_that_is_killed_before_it_can_lead_passes_the_lead_on(counting: None) -> None:
    gate = Gate()
    batcher = Batcher(gate)
    with led_by(batcher, gate):
        killed, after = submit_in_order(batcher, ["killed", "after"])
        kill(killed)
    assert isinstance(killed.result(within=SOON), SystemExit)
    assert after.result(within=SOON) == 2
    assert tally.entries() == {"leading": 1, "after": 2}


def kill(thread: threading.Thread) -> None:
    """Raise in the thread as soon as it runs again: here, when it is woken to lead."""
    assert thread.ident is not None
    changed = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )
    assert changed == 1


def test_a_lead_that_nobody_takes_up_is_taken_over_with_its_request(counting: None) -> None:
    batcher: Batcher[str, int] = Batcher(tally.count, wait_seconds=0.5)
    gone: _Waiter[str] = _Waiter("gone")
    batcher._join(gone)
    first = Submission(batcher, "first")
    assert isinstance(first.result(within=SOON), Overloaded)
    assert Submission(batcher, "second").result(within=SOON) == 2
    assert tally.entries() == {"gone": 1, "second": 2}


def test_nobody_waits_forever_for_a_leader_that_hangs(counting: None) -> None:
    """The leader and its batch wait for a row that another client keeps; later requests don't need it."""
    started: list[Sequence[int]] = []

    def lock(rows: Sequence[int]) -> Sequence[int]:
        started.append(rows)
        for row in rows:
            ask(connection, tally.LOCK, row)
        return rows

    gate = Gate(lock)
    batcher = Batcher(gate, wait_seconds=0.6, max_batch=2)
    with holding(*HOT):
        with led_by(batcher, gate, tally.OTHER):
            hanging, beside, after = submit_in_order(batcher, [tally.HOT, tally.OTHER, tally.OTHER])
        unknown = beside.result(within=SOON)
        assert isinstance(unknown, Unavailable)
        assert not isinstance(unknown, Overloaded)
        assert isinstance(after.result(within=SOON), Overloaded)
        assert Submission(batcher, tally.OTHER).result(within=SOON) == tally.OTHER
        assert hanging.is_alive()
    assert hanging.result() == tally.HOT
    assert Submission(batcher, tally.HOT).result(within=SOON) == tally.HOT
    assert (batcher._leader, list(batcher._queue)) == (None, [])


def test_when_a_dead_lead_is_taken_over_the_old_leader_comes_back_to_a_lane_with_one_leader(
    counting: None,
) -> None:
    first, second, third = (Gate(lambda requests: requests) for _ in range(3))
    gates = iter([first, second, third])
    batcher: Batcher[str, str] = Batcher(lambda requests: next(gates)(requests), wait_seconds=0.5)
    with led_by(batcher, first, "slow") as slow:
        assert isinstance(Submission(batcher, "refused").result(within=SOON), Overloaded)
        heir = Submission(batcher, "heir")
        wait_until(lambda: second.batches == [["heir"]])
        waiting = submit_in_order(batcher, ["waiting"])[0]
    assert slow.result(within=SOON) == "slow"
    # The heir still leads: the one who came back must not hand its lead to a third.
    assert (len(batcher._queue), third.batches) == (1, [])
    second.is_open.set()
    third.is_open.set()
    assert heir.result(within=SOON) == "heir"
    assert waiting.result(within=SOON) == "waiting"


def test_whoever_gave_up_is_not_decided_when_a_failed_batch_is_run_one_by_one(counting: None) -> None:
    first = Gate(lambda requests: requests)
    alone = Gate(tally.count)

    def decide(requests: Sequence[str]) -> Sequence[Any]:
        if len(requests) > 1:
            raise ValueError("not together")
        return {"leading": first, "slow": alone}.get(requests[0], tally.count)(requests)

    batcher: Batcher[str, int] = Batcher(decide, wait_seconds=0.3)
    with led_by(batcher, first):
        slow, given_up = submit_in_order(batcher, ["slow", "given up"])
    assert isinstance(given_up.result(within=SOON), Unavailable)
    assert alone.batches == [["slow"]]
    alone.is_open.set()
    assert slow.result() == 1
    assert tally.entries() == {"slow": 1}


def test_inside_a_transaction_it_is_decided_at_once_and_belongs_to_it(counting: None) -> None:
    gate = Gate()
    batcher = Batcher(gate)
    gate.is_open.set()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert batcher.submit("first") == 1
        assert batcher.submit("second") == 2
        raise ZeroDivisionError
    assert gate.batches == [["first"], ["second"]]
    assert tally.entries() == {}


def test_inside_a_transaction_a_failure_leaves_the_rest_of_it_whole(counting: None) -> None:
    batcher = Batcher(tally.count)
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


def test_inside_a_transaction_nobody_waits_for_the_lane(counting: None) -> None:
    gate = Gate(lambda requests: requests)
    batcher: Batcher[str, str] = Batcher(
        lambda requests: gate(requests) if "leading" in requests else requests
    )
    with led_by(batcher, gate) as leader:
        with transaction.atomic():
            assert batcher.submit("inside") == "inside"
        assert leader.is_alive()
    assert leader.result() == "leading"


@pytest.mark.django_db
def test_it_works_within_a_test_case(tally_tables: None) -> None:
    tally.reset()
    batcher = Batcher(tally.count)
    assert [batcher.submit("first"), batcher.submit("second")] == [1, 2]
    with pytest.raises(IntegrityError):
        batcher.submit("repeating")
    assert ask(connection, "SELECT COUNT(*) FROM tally_entry WHERE name <> %s", tally.TAKEN) == [(2,)]


def test_a_deadlocked_batch_is_tried_again_as_a_whole(counting: None) -> None:
    """The batch holds the hot row and wants the other; the second connection the other way round."""
    batches: list[list[str]] = []
    has_hot = threading.Event()
    gate = Gate(lambda requests: [0 for _ in requests])

    def decide(requests: Sequence[str]) -> Sequence[Any]:
        if not gate.is_open.is_set():
            return gate(requests)
        batches.append(list(requests))
        outcomes = tally.count(requests)
        has_hot.set()
        ask(connection, tally.LOCK, tally.OTHER)
        return outcomes

    batcher: Batcher[str, int] = Batcher(decide)
    with another_connection() as other:
        other.set_autocommit(False)
        ask(other, tally.LOCK, tally.OTHER)
        with led_by(batcher, gate):
            followers = submit_in_order(batcher, ["first", "second", "third"])
        assert has_hot.wait(10)
        make_heavy(other)
        ask(other, tally.LOCK, tally.HOT)
        other.rollback()
    assert [one.result() for one in followers] == [1, 2, 3]
    assert batches == [["first", "second", "third"]] * 2


def make_heavy(other: Any) -> None:
    """InnoDB rolls back whoever has changed fewer rows: let that be the batch."""
    for number in range(20):
        ask(other, "INSERT INTO tally VALUES (%s, 0)", 100 + number)


def test_a_batch_that_conflicts_every_time_is_run_one_by_one(counting: None) -> None:
    """A trigger gives the server's own 1213 for one name, each time."""
    batches: list[list[str]] = []
    gate = Gate(lambda requests: [0 for _ in requests])

    def decide(requests: Sequence[str]) -> Sequence[Any]:
        if not gate.is_open.is_set():
            return gate(requests)
        batches.append(list(requests))
        return tally.count(requests)

    batcher: Batcher[str, int] = Batcher(decide)
    with deadlock_for("unlucky"):
        with led_by(batcher, gate):
            before, unlucky, after = submit_in_order(batcher, ["before", "unlucky", "after"])
        assert (before.result(), after.result()) == (1, 2)
        assert isinstance(unlucky.result(), Unavailable)
    assert batches == [["before", "unlucky", "after"]] * 4 + [["before"]] + [["unlucky"]] * 4 + [["after"]]
    assert tally.entries() == {"before": 1, "after": 2}


def test_a_batch_whose_commit_may_have_been_done_is_not_said_to_have_come_to_nothing(
    counting: None, tmp_path: Path
) -> None:
    """Run one by one its members would conflict as well, and hear that nothing was done."""
    batches: list[list[str]] = []
    gate = Gate(lambda requests: [0 for _ in requests])

    def decide(requests: Sequence[str]) -> Sequence[Any]:
        if not gate.is_open.is_set():
            gate(requests)
            raise ValueError("nothing to commit")
        batches.append(list(requests))
        if len(batches) > 1:
            raise OperationalError(1213, "made up")
        return tally.count(requests)

    batcher: Batcher[str, int] = Batcher(decide)
    with losing_reply_to_commit(tmp_path) as is_lost:
        with led_by(batcher, gate):
            members = submit_in_order(batcher, ["one", "two"])
        outcomes = [member.result() for member in members]
        assert is_lost.is_set()
    assert all(isinstance(outcome, OutcomeUnknown) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 2, "each raises its own"
    assert batches == [["one", "two"]] * 4
    assert tally.entries() == {"one": 1, "two": 2}


@contextmanager
def deadlock_for(name: str) -> Iterator[None]:
    ask(
        connection,
        "CREATE TRIGGER tally_conflict BEFORE INSERT ON tally_entry FOR EACH ROW "
        "IF NEW.name = %s THEN SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213; END IF",
        name,
    )
    try:
        yield
    finally:
        ask(connection, "DROP TRIGGER tally_conflict")


@pytest.mark.parametrize("outcomes", [[], [1, 2, 3]])
def test_a_decision_that_forgets_somebody_is_an_error_and_writes_nothing(
    counting: None, outcomes: list[int]
) -> None:
    def decide(requests: Sequence[str]) -> list[int]:
        tally.count(requests)
        return outcomes

    with pytest.raises(RuntimeError, match="1 requests got"):
        Batcher(decide).submit("first")
    assert tally.entries() == {}


def test_batches_of_a_lane_with_a_pace_begin_that_long_after_one_another() -> None:
    """And who comes to an idle batcher doesn't wait."""
    began: list[float] = []

    def decide(requests: Sequence[int]) -> Sequence[int]:
        began.append(time.monotonic())
        return requests

    batcher = Batcher(decide, min_interval_seconds=0.3, run=lambda work: work())
    outcomes = race(
        [lambda number=number: [batcher.submit(number) for _ in range(3)] for number in range(20)]
    )

    assert outcomes == [[number] * 3 for number in range(20)]
    assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(began))
    assert len(began) <= 6, "nearly all share a batch with others"
    wait_until(lambda: time.monotonic() - began[-1] > 0.3)
    started_at = time.monotonic()
    batcher.submit(1)
    assert time.monotonic() - started_at < 0.2


class Slowly(list[int]):
    """Outcomes that take their time to be handed out."""

    def __iter__(self) -> Iterator[int]:
        return slowly(super().__iter__())

    def __reversed__(self) -> Iterator[int]:
        return slowly(super().__reversed__())


def slowly(outcomes: Iterator[int]) -> Iterator[int]:
    for outcome in outcomes:
        time.sleep(0.02)
        yield outcome


def test_who_wakes_by_chance_while_outcomes_are_handed_out_wakes_nobody_too_early() -> None:
    """A follower that was woken before it had its outcome slept on until its wait was over."""
    gate = Gate(Slowly)
    batcher = Batcher(gate, wait_seconds=20.0, run=lambda work: work())
    with led_by(batcher, gate, 0):
        followers = submit_in_order(batcher, range(1, 13))
        first = batcher._queue[0]
    started_at = time.monotonic()
    while first.outcome is PENDING:
        first.signal()
    assert [one.result() for one in followers] == list(range(1, 13))
    assert time.monotonic() - started_at < SOON
