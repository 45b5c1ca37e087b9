"""Waits: of coroutines with and without an event loop, and for a completion in any process."""

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar

import pytest
from redis import Redis

from foundation.concurrency import event_loop
from foundation.concurrency.batching import Batcher, run_without_transaction
from foundation.concurrency.event_loop import Signal
from foundation.concurrency.thread_pool import ThreadPool
from foundation.errors import Overloaded
from foundation.redis import completion_notifications, redis_client
from foundation.tests import tally
from foundation.tests.racing import race, wait_until
from foundation.tests.second_connection import another_connection, ask
from foundation.tests.second_process import another_process, read_line
from foundation.tests.test_batching import Gate
from foundation.tests.waiting import within

pytestmark = pytest.mark.django_db
colour: ContextVar[str] = ContextVar("colour", default="none")
RUNNERS = pytest.mark.parametrize("run", [asyncio.run, event_loop.run_blocking], ids=["loop", "thread"])


@pytest.fixture
def small_pool(monkeypatch):
    pool = ThreadPool("small", threads=4, max_waiting=40)
    monkeypatch.setattr(event_loop, "CALL_POOL", pool)
    return pool


def test_a_thousand_requests_that_wait_for_a_batch_hold_no_thread_and_more_are_refused_at_once():
    gate = Gate(list)
    batcher = Batcher(gate, run=run_without_transaction, max_batch=2_000, max_waiting=1_000)

    async def call_all():
        before = threading.active_count()
        submitted = [event_loop.submit_to_batcher(batcher, number) for number in range(1_006)]
        first = asyncio.create_task(submitted[0])
        while not gate.batches:
            await asyncio.sleep(0.005)
        tasks = [asyncio.create_task(each) for each in submitted[1:]]
        await asyncio.sleep(0)
        assert sum(task.done() for task in tasks) == 5
        assert threading.active_count() < before + 100, "its leader, and the watch of its deadlines"
        gate.is_open.set()
        return await asyncio.gather(first, *tasks, return_exceptions=True)

    outcomes = asyncio.run(call_all())
    assert outcomes[:1_001] == list(range(1_001))
    assert {type(outcome) for outcome in outcomes[1_001:]} == {Overloaded}
    assert len(gate.batches) <= 3


@RUNNERS
def test_a_thread_runs_in_a_copy_of_the_callers_context(run):
    def read_colour():
        seen = colour.get()
        colour.set("the thread's")
        return seen, threading.current_thread() is threading.main_thread()

    async def call():
        colour.set("the caller's")
        return await event_loop.run_in_thread(read_colour), colour.get()

    (seen, is_here), after = run(call())
    assert seen == "the caller's"
    assert is_here == (run is event_loop.run_blocking)
    if run is asyncio.run:
        assert after == "the caller's"
    colour.set("none")


@pytest.mark.parametrize(
    "error", [ValueError("wrong"), Overloaded("too much"), StopIteration(3), SystemExit(1)]
)
def test_an_error_of_a_thread_is_raised_in_the_awaiting_coroutine(error):
    def fail():
        raise error

    async def call():
        with pytest.raises(Exception) as raised:
            await event_loop.run_in_thread(fail)
        assert await event_loop.run_in_thread(lambda: "the next one runs") == "the next one runs"
        return raised.value

    raised = asyncio.run(call())
    assert raised is error or (
        isinstance(error, SystemExit | StopIteration) and isinstance(raised, RuntimeError)
    )


def test_a_cancelled_caller_affects_no_other(small_pool):
    begun, done, may_end = [], [], threading.Event()

    def work(number):
        begun.append(number)
        may_end.wait(20)
        done.append(number)
        return number

    async def call_all():
        tasks = [asyncio.create_task(event_loop.run_in_thread(work, number)) for number in range(8)]
        while len(begun) < 4:
            await asyncio.sleep(0.005)
        for task in tasks[::2]:
            task.cancel()
        may_end.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(call_all())
    assert outcomes[1::2] == [1, 3, 5, 7]
    assert {type(outcome) for outcome in outcomes[::2]} == {asyncio.CancelledError}
    wait_until(lambda: sorted(done) == list(range(8)))


@RUNNERS
def test_a_signal_ends_exactly_one_wait(run):
    async def call():
        signal = Signal()
        signal.set()
        waits = [await signal.wait(5), await signal.wait(0.05)]
        threading.Timer(0.05, signal.set).start()
        return [*waits, await signal.wait(5), await signal.wait(0.05)]

    assert run(call()) == [True, False, True, False]


def test_results_from_many_threads_at_once_all_arrive():
    """Including a result that arrives while others are being delivered."""

    async def call_all():
        total = 0
        for _ in range(25):
            total += sum(await asyncio.gather(*[event_loop.run_in_thread(lambda: 1) for _ in range(200)]))
        return total

    assert asyncio.run(asyncio.wait_for(call_all(), 60)) == 5_000


def test_redis_on_a_loop_is_refused_and_so_is_without_one_a_coroutine_that_needs_it():
    async def call():
        redis_client.attempt(lambda client: client.ping(), otherwise=False)

    with pytest.raises(RuntimeError, match=r"foundation\.concurrency\.event_loop"):
        event_loop.run_blocking(asyncio.sleep(0))
    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(call())
    assert redis_client.attempt(lambda client: client.ping(), otherwise=False)


def test_a_call_that_waits_too_long_for_a_thread_is_not_started(small_pool, monkeypatch):
    monkeypatch.setattr(event_loop, "WAIT_SECONDS", 0.2)
    may_end, begun = threading.Event(), threading.Event()

    async def call_all():
        slow = [asyncio.create_task(event_loop.run_in_thread(may_end.wait, 10)) for _ in range(4)]
        await asyncio.sleep(0.05)
        late = asyncio.create_task(event_loop.run_in_thread(begun.set))
        await asyncio.sleep(0.3)
        may_end.set()
        with pytest.raises(Overloaded, match="waited too long"):
            await late
        await asyncio.gather(*slow)

    asyncio.run(call_all())
    assert not begun.is_set()


# For a completion, in this or another process

# Waits until the tally is one, and prints when that was; its arguments are the longest time between two
# checks, and whether it waits in a thread or on a loop. It is ready after its subscription, unless it polls,
# and after the first check: it learns later changes only from a notification.
WAITER = """
import asyncio
import time
from foundation.concurrency import event_loop
from foundation.redis import completion_notifications
from foundation.tests import tally

seconds = float(sys.argv[1])
completion_notifications.RECHECK_SECONDS = seconds
completion_notifications.LISTENING_RECHECK_SECONDS = seconds
checks = []

async def is_counted():
    return await event_loop.run_in_thread(check)

def check():
    checks.append(tally.counted() == 1)
    if len(checks) == 1:
        print("ready", flush=True)
    return checks[-1]

completion_notifications._listener.start()
while seconds > 10 and not completion_notifications._is_listening:
    time.sleep(0.01)
waiting = completion_notifications.wait("order-1", is_settled=is_counted, seconds=30)
is_settled = asyncio.run(waiting) if sys.argv[2] == "loop" else event_loop.run_blocking(waiting)
print(is_settled, time.monotonic(), flush=True)
"""
NEVER, NORMALLY = "3600", str(completion_notifications.RECHECK_SECONDS)


def settle(value=1):
    with another_connection() as other:
        ask(other, "UPDATE tally SET value = %s WHERE id = %s", value, tally.HOT)


def woken_at(process: "subprocess.Popen[str]") -> float:
    is_settled, at = read_line(process).split()
    assert is_settled == "True"
    return float(at)


def check_every(seconds: float, monkeypatch):
    for name in ("RECHECK_SECONDS", "LISTENING_RECHECK_SECONDS"):
        monkeypatch.setattr(completion_notifications, name, seconds)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Waiters don't poll here, so that only a notification can wake them."""
    check_every(float(NEVER), monkeypatch)


async def until_waiting(count: int):
    while completion_notifications._count < count:
        await asyncio.sleep(0.01)


PLACES = pytest.mark.parametrize("place", ["thread", "loop"])


async def waiting(name: str, check: Callable[[], bool], *, seconds: float = 30, **more) -> bool:
    """A wait with a check that takes no time."""

    async def is_settled():
        return check()

    return await completion_notifications.wait(name, is_settled=is_settled, seconds=seconds, **more)


def wait(name: str, check: Callable[[], bool], *, place="thread", **more) -> bool:
    """The same in this thread, with or without an event loop."""
    run = asyncio.run if place == "loop" else event_loop.run_blocking
    return run(waiting(name, check, **more))


def notify_elsewhere(name: str):
    thread = threading.Thread(target=completion_notifications.notify_completed, args=(name,))
    thread.start()
    thread.join()


@PLACES
def test_a_waiter_in_another_process_is_woken_within_milliseconds_by_its_name_alone(
    counting, own_redis, place
):
    def seconds_to_wake():
        settle(0)
        with another_process(WAITER, NEVER, place, REDIS_URL=own_redis.url) as process:
            settle()
            completion_notifications.notify_completed("order-2")
            notified_at = time.monotonic()
            completion_notifications.notify_completed("order-1")
            seconds = woken_at(process) - notified_at
            assert seconds > 0
            return seconds

    # Other work of the machine can delay any single one.
    assert any(seconds_to_wake() < 0.3 for _ in range(5))


@PLACES
def test_without_redis_a_waiter_in_another_process_polls(counting, own_redis, place):
    own_redis.stop()
    with another_process(WAITER, NORMALLY, place, REDIS_URL=own_redis.url) as process:
        settle()
        settled_at = time.monotonic()
        completion_notifications.notify_completed("order-1")
        assert woken_at(process) - settled_at < 3


@PLACES
def test_a_waiter_is_woken_again_after_redis_was_restarted(counting, own_redis, place):
    # By its name, for this process may listen there as well, since an earlier test.
    with another_process(WAITER, NEVER, place, REDIS_URL=f"{own_redis.url}?client_name=other") as process:
        own_redis.stop()
        own_redis.start()
        with Redis.from_url(own_redis.url) as client:
            wait_until(lambda: any(one["name"] == "other" for one in client.client_list("pubsub")))
        settle()
        notified_at = time.monotonic()
        completion_notifications.notify_completed("order-1")
        assert woken_at(process) - notified_at < 10


@pytest.mark.parametrize("is_redis_up", [True, False])
def test_waiters_of_this_process_are_woken_and_a_thousand_of_a_loop_hold_no_thread(own_redis, is_redis_up):
    if not is_redis_up:
        own_redis.stop()
    settled = threading.Event()

    def notify_five():
        wait_until(lambda: len(completion_notifications._waiting.get("order-1", ())) == 5)
        settled.set()
        completion_notifications.notify_completed("order-1")

    started_at = time.monotonic()
    assert race([lambda: wait("order-1", settled.is_set)] * 5 + [notify_five]) == [True] * 5 + [None]
    assert time.monotonic() - started_at < 10
    assert "order-1" not in completion_notifications._waiting
    settled.clear()
    completion_notifications._listener.start()
    wait_until(lambda: completion_notifications._is_listening or not is_redis_up)
    before = threading.active_count()

    def notify():
        wait_until(lambda: completion_notifications._count == 1_000)
        threads = threading.active_count()
        settled.set()
        completion_notifications.notify_completed(*(f"order-{number}" for number in range(10)))
        return threads

    async def all_wait():
        waits = [waiting(f"order-{number % 10}", settled.is_set) for number in range(1_000)]
        threads, *woken = await asyncio.gather(asyncio.to_thread(notify), *waits)
        return threads, woken

    started_at = time.monotonic()
    threads, woken = asyncio.run(all_wait())
    assert woken == [True] * 1_000
    assert threads < before + 100, "only the thread that notifies"
    assert time.monotonic() - started_at < 10
    assert (completion_notifications._count, dict(completion_notifications._waiting)) == (0, {})


@PLACES
def test_a_completion_between_the_check_and_the_sleep_or_by_work_of_the_wait_is_not_missed(place):
    checks = []

    def check():
        checks.append(bool(checks))
        notify_elsewhere("order-1")
        return checks[-1]

    assert wait("order-1", check, place=place)
    assert checks == [False, True]
    # The work that the wait starts is not checked before.
    assert wait("order-1", check, place=place, begin=lambda: notify_elsewhere("order-1"))
    assert checks == [False, True, True]


@PLACES
def test_a_wait_that_times_out_returns_in_time_and_a_lost_notification_costs_at_most_a_second(
    monkeypatch, place
):
    started_at = time.monotonic()
    assert not wait("order-1", lambda: False, seconds=0.3, place=place)
    assert 0.3 <= time.monotonic() - started_at < 2
    assert "order-1" not in completion_notifications._waiting
    check_every(float(NORMALLY), monkeypatch)
    settles_at = time.monotonic() + 0.2
    assert wait("order-1", lambda: time.monotonic() >= settles_at, place=place)
    assert time.monotonic() - settles_at < 2


def test_at_most_the_configured_number_wait_and_the_next_returns_at_once(settings):
    settings.WAITING_REQUESTS = 50
    settled = threading.Event()
    begun = []

    async def one_too_many():
        await until_waiting(50)
        started_at = time.monotonic()
        unsettled = await waiting("order-1", lambda: False)
        is_settled = await waiting("order-1", lambda: True)
        is_begun = await waiting("order-1", lambda: True, begin=lambda: begun.append("begun"))
        seconds = time.monotonic() - started_at
        settled.set()
        notify_elsewhere("order-1")
        return unsettled, is_settled, is_begun, seconds

    async def all_at_once():
        waits = [waiting("order-1", settled.is_set) for _ in range(50)]
        *waited, (unsettled, is_settled, is_begun, seconds) = await asyncio.gather(*waits, one_too_many())
        assert waited == [True] * 50
        assert (unsettled, is_settled, is_begun, seconds < 1) == (False, True, False, True)
        assert begun == ["begun"]
        assert not await waiting("order-1", lambda: False, seconds=0.01)
        # The places are free again.
        settled.clear()
        waits = [asyncio.create_task(waiting("order-2", settled.is_set)) for _ in range(50)]
        await until_waiting(50)
        settled.set()
        notify_elsewhere("order-2")
        assert await asyncio.gather(*waits) == [True] * 50

    asyncio.run(all_at_once())
    assert completion_notifications._count == 0


@PLACES
def test_a_waiter_whose_check_fails_or_that_is_cancelled_releases_its_place(place):
    def fail():
        raise ValueError("the check failed")

    async def cancel():
        task = asyncio.create_task(waiting("order-1", lambda: False))
        await until_waiting(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for _ in range(64):
        with pytest.raises(ValueError):
            wait("order-1", fail, place=place)
    asyncio.run(cancel())
    assert (dict(completion_notifications._waiting), completion_notifications._count) == ({}, 0)


@PLACES
def test_a_check_that_is_refused_as_overloaded_is_retried(monkeypatch, place):
    check_every(0.05, monkeypatch)
    checks = []

    def check():
        checks.append("check")
        if len(checks) < 3:
            raise Overloaded("Too many requests are waiting; nothing was done.")
        return True

    assert wait("order-1", check, seconds=5, place=place, begin=lambda: None)
    assert len(checks) == 3


def test_a_stopping_process_ends_every_wait_and_later_ones_at_once(monkeypatch):
    # The next test finds it running.
    monkeypatch.setattr(completion_notifications, "_is_stopping", False)

    async def all_wait():
        waits = [asyncio.create_task(waiting(f"order-{number}", lambda: False)) for number in range(100)]
        await until_waiting(100)
        completion_notifications.stop()
        ended = await asyncio.gather(*waits)
        begun = []
        later = await waiting("order-1", lambda: False, begin=lambda: begun.append("begun"))
        assert begun == ["begun"]
        return [*ended, later]

    with within(5):
        assert asyncio.run(all_wait()) == [False] * 101
