"""Waits of coroutines: without a thread on an event loop, and in their own thread without a loop."""

import asyncio
import threading
import time
from contextvars import ContextVar
from typing import Any

import pytest

from shop.concurrency import event_loop
from shop.concurrency.batching import Batcher, run_without_transaction
from shop.concurrency.event_loop import Signal
from shop.concurrency.thread_pool import ThreadPool
from shop.errors import Overloaded
from shop.redis import redis_client
from shop.tests.racing import wait_until
from shop.tests.test_batching import Gate

pytestmark = pytest.mark.django_db
colour: ContextVar[str] = ContextVar("colour", default="none")
RUNNERS = pytest.mark.parametrize("run", [asyncio.run, event_loop.run_blocking], ids=["loop", "thread"])


@pytest.fixture
def small_pool(monkeypatch: pytest.MonkeyPatch) -> ThreadPool:
    pool = ThreadPool("small", threads=4, max_waiting=40)
    monkeypatch.setattr(event_loop, "CALL_POOL", pool)
    return pool


def test_a_thousand_requests_that_wait_for_a_batch_hold_no_thread() -> None:
    gate = Gate(list)
    batcher: Batcher[int, int] = Batcher(gate, run=run_without_transaction, max_batch=2_000)

    async def call_all() -> list[int]:
        before = threading.active_count()
        tasks = [
            asyncio.create_task(event_loop.submit_to_batcher(batcher, number)) for number in range(1_000)
        ]
        await asyncio.sleep(0.1)
        assert threading.active_count() <= before + 2, "its leader, and the watch of its deadlines"
        gate.is_open.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(call_all()) == list(range(1_000))
    assert len(gate.batches) <= 3


def test_a_full_batcher_refuses_at_once_and_queued_requests_get_their_outcomes() -> None:
    gate = Gate(list)
    batcher: Batcher[int, int] = Batcher(gate, run=run_without_transaction, max_waiting=10)

    async def call_all() -> list[Any]:
        first = asyncio.create_task(event_loop.submit_to_batcher(batcher, 0))
        await asyncio.sleep(0.2)
        tasks = [
            asyncio.create_task(event_loop.submit_to_batcher(batcher, number)) for number in range(1, 16)
        ]
        await asyncio.sleep(0)
        assert sum(task.done() for task in tasks) == 5
        gate.is_open.set()
        return await asyncio.gather(first, *tasks, return_exceptions=True)

    outcomes = asyncio.run(call_all())
    assert outcomes[:11] == list(range(11))
    assert {type(outcome) for outcome in outcomes[11:]} == {Overloaded}


@RUNNERS
def test_a_thread_runs_in_a_copy_of_the_callers_context(run: Any) -> None:
    def read_colour() -> tuple[str, bool]:
        seen = colour.get()
        colour.set("the thread's")
        return seen, threading.current_thread() is threading.main_thread()

    async def call() -> tuple[tuple[str, bool], str]:
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
def test_an_error_of_a_thread_is_raised_in_the_awaiting_coroutine(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def call() -> BaseException:
        with pytest.raises(Exception) as raised:
            await event_loop.run_in_thread(fail)
        assert await event_loop.run_in_thread(lambda: "the next one runs") == "the next one runs"
        return raised.value

    raised = asyncio.run(call())
    assert raised is error or (
        isinstance(error, SystemExit | StopIteration) and isinstance(raised, RuntimeError)
    )


def test_a_cancelled_caller_affects_no_other(small_pool: ThreadPool) -> None:
    done: list[int] = []

    def work(number: int) -> int:
        time.sleep(0.05)
        done.append(number)
        return number

    async def call_all() -> list[Any]:
        tasks = [asyncio.create_task(event_loop.run_in_thread(work, number)) for number in range(8)]
        await asyncio.sleep(0.02)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(call_all())
    assert outcomes[1::2] == [1, 3, 5, 7]
    assert {type(outcome) for outcome in outcomes[::2]} == {asyncio.CancelledError}
    wait_until(lambda: sorted(done) == list(range(8)))


@RUNNERS
def test_a_signal_ends_exactly_one_wait(run: Any) -> None:
    async def call() -> list[bool]:
        signal = Signal()
        signal.set()
        waits = [await signal.wait(5), await signal.wait(0.05)]
        threading.Timer(0.05, signal.set).start()
        return [*waits, await signal.wait(5), await signal.wait(0.05)]

    assert run(call()) == [True, False, True, False]


def test_a_coroutine_that_needs_an_event_loop_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"shop\.concurrency\.event_loop"):
        event_loop.run_blocking(asyncio.sleep(0))


def test_results_from_many_threads_at_once_all_arrive() -> None:
    """Including a result that arrives while others are being delivered."""

    async def call_all() -> int:
        total = 0
        for _ in range(25):
            total += sum(await asyncio.gather(*[event_loop.run_in_thread(lambda: 1) for _ in range(200)]))
        return total

    assert asyncio.run(asyncio.wait_for(call_all(), 60)) == 5_000


def test_redis_on_a_loop_is_refused() -> None:
    async def call() -> None:
        redis_client.attempt(lambda client: client.ping(), otherwise=False)

    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(call())
    assert redis_client.attempt(lambda client: client.ping(), otherwise=False)


def test_a_call_that_waits_too_long_for_a_thread_is_not_started(
    small_pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_loop, "WAIT_SECONDS", 0.2)
    may_end, begun = threading.Event(), threading.Event()

    async def call_all() -> None:
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
