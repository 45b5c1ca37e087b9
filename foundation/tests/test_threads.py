"""Threads: the pool's bounds, order and connections; repeated work, and readings that callers share."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from structlog.testing import capture_logs

from foundation.concurrency import batching, event_loop, shared_read, thread_pool
from foundation.concurrency.shared_read import SharedRead
from foundation.concurrency.thread_pool import MAX_PER_OWNER, ThreadPool
from foundation.db.transactions import DatabaseUnavailable
from foundation.errors import Overloaded
from foundation.repeated_work import RepeatedWork, start_once
from foundation.tests import process_state
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_connection import ask, connection_id, is_connected, kill

# For all tests: a pool's thread closes old connections even after work that uses no database.
pytestmark = pytest.mark.django_db(transaction=True)
SOON = 5.0


class Held:
    """Work items that block until they are released, and record the order in which they started."""

    def __init__(self):
        self.began: list[Any] = []
        self.go = threading.Event()

    def work(self, name) -> Callable[[], None]:
        def run():
            self.began.append(name)
            assert self.go.wait(60), "the work was never released"

        return run

    def start(self, pool: ThreadPool, *names, **about):
        for name in names:
            pool.start(self.work(name), **about)

    def end(self, pool: ThreadPool):
        """Release them, and return once all of the pool's work has ended."""
        self.go.set()
        wait_until(lambda: drained(pool))


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    wait_until(lambda: process_state.renew_threads() or names_of_threads() == [])


@pytest.fixture
def held():
    held = Held()
    yield held
    held.go.set()


def pool_of(threads: int, *, max_waiting=10_000) -> ThreadPool:
    return ThreadPool("test-pool", threads=threads, max_waiting=max_waiting)


def names_of_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("test-pool-")]


def drained(pool: ThreadPool) -> bool:
    return pool.busy() == 0 and pool.waiting() == 0


def test_threads_are_made_when_they_are_needed_and_no_more_than_allowed(held):
    pool = pool_of(2)
    assert (pool.busy(), names_of_threads()) == (0, [])
    held.start(pool, *range(5))
    wait_until(lambda: held.began == [0, 1])
    assert (pool.busy(), pool.waiting(), len(names_of_threads())) == (2, 3, 2)
    held.end(pool)
    assert held.began == [0, 1, 2, 3, 4]


def test_a_group_takes_half_of_the_places_to_wait_and_works_of_others_have_the_rest(held):
    pool = pool_of(4, max_waiting=10)
    held.start(pool, *range(7), group="slow")
    with pytest.raises(Overloaded):
        pool.start(held.work("refused"), group="slow")
    held.start(pool, *range(2 + 5))
    with pytest.raises(Overloaded):
        pool.start(held.work("refused"))
    assert pool.waiting() == 10
    held.end(pool)
    assert len(held.began) == 14


def test_a_group_holds_half_of_the_threads_and_others_pass_it(held):
    pool, quick = pool_of(4), SimpleQueue[str]()
    held.start(pool, *range(6), group="slow")
    for number in range(3):
        pool.start(lambda number=number: quick.put(f"other {number}"), group="quick")
    pool.start(lambda: quick.put("of none"))
    assert {quick.get(timeout=SOON) for _ in range(4)} == {"other 0", "other 1", "other 2", "of none"}
    assert held.began == [0, 1]
    wait_until(lambda: (pool.busy(), pool.waiting()) == (2, 4))
    held.end(pool)
    assert held.began == [0, 1, 2, 3, 4, 5]
    assert not pool._placed and not pool._held


def test_a_member_holds_a_quarter_of_the_threads_and_waiting_members_take_turns(held):
    """One account of staff kept all threads of staff busy, and its queue came before all others' calls."""
    pool, quick = pool_of(8), SimpleQueue[str]()
    held.start(pool, *range(20), group="staff", member=1)
    for number in range(3):
        pool.start(lambda number=number: quick.put(f"another's {number}"), group="staff", member=2)
    assert [quick.get(timeout=SOON) for _ in range(3)] == [f"another's {number}" for number in range(3)]
    assert held.began == [0, 1]
    for member in (3, 4):
        held.start(pool, *((member, number) for number in range(3)), group="staff", member=member)
    wait_until(lambda: len(held.began) == 4)
    assert pool.busy() == 4
    assert set(held.began[2:]) == {(3, 0), (3, 1)}
    held.end(pool)
    assert len(held.began) == len(set(held.began)) == 26
    later = held.began[4:]
    assert later.index((4, 0)) < 8
    assert not pool._placed and not pool._held


def test_one_member_leaves_places_to_wait_for_the_others(held):
    pool = pool_of(4, max_waiting=12)
    held.start(pool, *range(1 + 3), group="staff", member=1)
    with pytest.raises(Overloaded):
        pool.start(held.work("refused"), group="staff", member=1)
    held.start(pool, *range(1 + 3), group="staff", member=2)
    with pytest.raises(Overloaded):
        pool.start(held.work("refused"), group="staff", member=3)
    held.end(pool)
    assert len(held.began) == 8
    assert not pool._placed and not pool._held


def test_one_owner_has_a_bounded_number_of_works_running_and_waiting(held):
    pool = pool_of(2)
    for number in range(MAX_PER_OWNER):
        pool.start(held.work(number), owner=7, group=number % 3)
    with pytest.raises(Overloaded):
        pool.start(held.work("too many"), owner=7)
    pool.start(held.work("another's"), owner=8)
    held.end(pool)
    assert not pool._of_owner
    pool.start(held.work("again"), owner=7)
    wait_until(lambda: held.began[-1] == "again")


def test_a_refused_work_is_counted_nowhere(held):
    pool = pool_of(1, max_waiting=0)
    pool.start(held.work(1))
    for _ in range(MAX_PER_OWNER + 1):
        with pytest.raises(Overloaded):
            pool.start(held.work(2), owner=7, group="refused")
    held.end(pool)
    assert not pool._of_owner and not pool._placed
    pool.start(lambda: None, owner=7, group="refused")


def test_no_work_is_lost_and_no_group_passes_its_bound_while_many_start():
    pool, done = pool_of(4), SimpleQueue[tuple[int, int]]()
    pause = threading.Event()
    mutex, running, highest = threading.Lock(), [0] * 3, [0] * 3

    def work(racer, number):
        group = number % 3
        with mutex:
            running[group] += 1
            highest[group] = max(highest[group], running[group])
        if number % 7 == 0:
            pause.wait(0.001)
        with mutex:
            running[group] -= 1
        done.put((racer, number))

    def start_many(racer):
        for number in range(300):
            pool.start(lambda number=number: work(racer, number), group=number % 3)
            if number % 50 == 0:
                pause.wait(0.003)

    assert race_each(start_many, range(8)) == [None] * 8
    wait_until(lambda: drained(pool))
    assert {done.get_nowait() for _ in range(2_400)} == {(r, n) for r in range(8) for n in range(300)}
    assert max(highest) <= 2
    assert not pool._placed and not pool._held and pool._held_count == 0


def test_a_work_that_raises_costs_no_thread(caplog):
    pool, used = pool_of(1), SimpleQueue[int]()

    def fail():
        used.put(threading.get_ident())
        raise ValueError("made up")

    pool.start(fail, group="g", owner=7)
    pool.start(lambda: used.put(threading.get_ident()), group="g")
    assert used.get(timeout=SOON) == used.get(timeout=SOON)
    wait_until(lambda: drained(pool))
    assert not pool._placed and not pool._of_owner
    assert "a task in a thread failed" in caplog.text


@pytest.mark.parametrize("death", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_thread_that_dies_is_replaced(held, death):
    pool, used = pool_of(2), SimpleQueue[str]()
    dying = threading.Event()

    def die():
        used.put(threading.current_thread().name)
        dying.wait(60)
        raise death

    for _ in range(2):
        pool.start(die, group="dying", owner=7)
    pool.start(lambda: used.put(threading.current_thread().name), group="waiting")
    dying.set()
    assert len({used.get(timeout=SOON) for _ in range(3)}) > 1
    wait_until(lambda: drained(pool))
    assert not pool._placed and not pool._of_owner
    pool.start(held.work("later"), group="dying", owner=7)
    wait_until(lambda: held.began == ["later"])


def test_where_no_thread_can_be_started_a_work_waits_for_one_that_runs_or_is_refused(held, monkeypatch):
    pool = pool_of(3)
    pool.start(held.work("runs"))
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("test-pool"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool.start(held.work("waits"))
    assert (pool.busy(), pool.waiting()) == (1, 1)
    empty = pool_of(1)
    with pytest.raises(Overloaded):
        empty.start(held.work("refused"), group="g", owner=7)
    assert not empty._placed and not empty._of_owner
    held.go.set()
    wait_until(lambda: held.began == ["runs", "waits"])


variable: ContextVar[str] = ContextVar("variable", default="unset")


def test_nothing_that_a_work_sets_in_its_context_reaches_the_next():
    pool, seen = pool_of(1), SimpleQueue[str]()

    def work():
        seen.put(variable.get())
        variable.set("set by a work")

    variable.set("set by the caller")
    for _ in range(2):
        pool.start(work)
    assert [seen.get(timeout=SOON) for _ in range(2)] == ["unset", "unset"]


def connection_of_next_work(pool: ThreadPool) -> int:
    numbers = SimpleQueue[int]()
    pool.start(lambda: numbers.put(connection_id()))
    return numbers.get(timeout=SOON)


def test_a_thread_keeps_its_connection_between_works_and_closes_it_when_it_ends():
    pool = pool_of(1)
    number = connection_of_next_work(pool)
    assert connection_of_next_work(pool) == number
    assert is_connected(number)
    process_state.renew_threads(pool)
    wait_until(lambda: names_of_threads() == [])
    wait_until(lambda: not is_connected(number))
    assert connection_of_next_work(pool) != number


def test_a_connection_that_was_killed_while_its_thread_was_idle_or_that_breaks_during_a_work_is_replaced():
    pool, numbers = pool_of(1), SimpleQueue[int]()
    number = connection_of_next_work(pool)
    kill(number)
    over = time.monotonic() + 1.1
    wait_until(lambda: time.monotonic() > over)
    assert connection_of_next_work(pool) != number

    def lose_connection():
        number = connection_id()
        kill(number)
        numbers.put(number)
        ask(connection, "SELECT 1")

    pool.start(lose_connection)
    number = numbers.get(timeout=SOON)
    wait_until(lambda: drained(pool))
    assert connection_of_next_work(pool) != number


def test_renewed_threads_have_new_connections_and_those_at_work_end_after_it(held):
    pool = pool_of(2)
    before = {connection_of_next_work(pool)}
    pool.start(held.work("at work"))
    before.add(connection_of_next_work(pool))
    process_state.renew_threads(pool)
    assert connection_of_next_work(pool) not in before
    held.go.set()
    wait_until(lambda: not any(map(is_connected, before)))


def test_batches_and_calls_share_all_threads_and_each_has_one():
    for count in (2, 3, 4, 8, 16, 64, 200):
        shares = thread_pool.split_threads(count)
        assert shares.leading + shares.calling == count
        assert 1 <= shares.leading <= max(2, count // 4)
        assert shares.calling >= 1
    in_force = batching.LEADER_POOL._max_threads, event_loop.CALL_POOL._max_threads
    assert in_force == thread_pool.split_threads(settings.WEB_THREADS)


# Work that is repeated, and readings that callers share


def test_one_thread_works_however_often_it_is_started_and_of_errors_the_first_in_a_row_is_logged():
    calls, ended = list[int](), threading.Event()

    def work():
        calls.append(len(calls))
        if len(calls) in (2, 3, 5):
            raise RuntimeError("Not now.")

    repeated = RepeatedWork(
        work, name="only one", pause=lambda: 0.01, at_end=ended.set, failing="nothing is done"
    )
    with capture_logs() as logged:
        race([repeated.start] * 16)
        assert [thread.name for thread in threading.enumerate()].count("only one") == 1
        wait_until(lambda: len(calls) >= 6)
        repeated.stop(within_seconds=5)
    assert ended.is_set()
    number = len(calls)
    # Other threads may log as well.
    failing = [line["event"] for line in logged if "nothing is done" in line["event"]]
    assert failing == ["nothing is done; trying again"] * 2
    time.sleep(0.05)
    assert len(calls) == number


def test_a_run_that_lasts_is_not_started_again_and_its_callers_share_its_outcome():
    may_end, runs = threading.Event(), list[int]()

    def work():
        runs.append(len(runs))
        assert may_end.wait(10)
        return len(runs)

    lasting = race([partial(start_once, "lasting", work)] * 8)
    may_end.set()
    assert {run.result(10) for run in lasting} == {1}
    with pytest.raises(ZeroDivisionError):
        start_once("lasting", lambda: 1 // 0).result(10)
    assert len(runs) == 1


def test_one_caller_reads_for_all_and_the_others_get_the_old_result_while_it_is_recent():
    may_end, reads = threading.Event(), list[int]()

    def read():
        reads.append(len(reads))
        if len(reads) == 2:
            assert may_end.wait(10)
        return len(reads)

    shared = SharedRead(read, name="test", seconds=0.0, max_age_seconds=60.0)
    assert shared.get() == 1
    reader = threading.Thread(target=shared.get)
    reader.start()
    wait_until(lambda: len(reads) == 2)
    assert race([shared.get] * 8) == [1] * 8
    may_end.set()
    reader.join(10)
    assert shared.recent() == 2


@pytest.mark.parametrize("error", [OperationalError(2006, "gone"), DatabaseUnavailable("gone")])
def test_while_the_database_is_away_the_old_result_is_used(error):
    results = iter([1, error, error, 2])

    def read():
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    shared = SharedRead(read, name="test", seconds=0.0, max_age_seconds=60.0)
    assert [shared.get() for _ in range(4)] == [1, 1, 1, 2]


def test_a_call_is_not_refused_because_the_old_result_gets_too_old_while_it_is_read_again(monkeypatch):
    """A crowd that comes after a pause: a token is verified between the look at the cache and its use."""
    now, reads, may_end = 0.0, list[int](), threading.Event()

    def read():
        reads.append(len(reads))
        assert len(reads) == 1 or may_end.wait(10)
        return len(reads)

    async def call(verified_after):
        nonlocal now
        await shared.get_on_loop(asyncio.to_thread)
        now += verified_after
        return shared.recent()

    async def ask():
        nonlocal now
        assert await call(0.0) == 1
        now = 3.9995
        first = asyncio.create_task(call(0.0))
        await asyncio.to_thread(wait_until, lambda: len(reads) == 2)
        second = asyncio.create_task(call(0.001))
        await asyncio.sleep(0)
        may_end.set()
        return await asyncio.gather(first, second)

    monkeypatch.setattr(shared_read, "time", SimpleNamespace(monotonic=lambda: now))
    shared = SharedRead(read, name="test", seconds=2.0, max_age_seconds=4.0)
    assert asyncio.run(ask()) == [2, 2]


def test_coroutines_share_one_reading_and_one_that_leaves_takes_nothing_from_the_others():
    reads = list[float]()

    async def ask():
        shared = SharedRead(lambda: reads.append(1.0) or len(reads), name="test", seconds=60.0)
        waits = [asyncio.create_task(shared.get_on_loop(asyncio.to_thread)) for _ in range(50)]
        await asyncio.sleep(0)
        waits.pop().cancel()
        return await asyncio.gather(*waits)

    assert asyncio.run(ask()) == [1] * 49


def test_a_reading_that_takes_long_rests_so_that_it_takes_its_share_of_the_time():
    shared = SharedRead(partial(time.sleep, 0.05), name="test", seconds=0.0, max_age_seconds=60.0, share=0.1)
    shared.get()
    fresh = shared.fresh()
    assert fresh and fresh.is_due_at - fresh.began_at >= 0.5
