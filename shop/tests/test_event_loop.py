"""What coroutines of calls wait for: without a thread on a loop, and in their own thread without one."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from shop.concurrency import event_loop
from shop.concurrency.event_loop import Signal
from shop.concurrency.group_commit import Batcher
from shop.concurrency.thread_pool import MAX_PER_OWNER, ThreadPool
from shop.errors import Overloaded, Rejected
from shop.redis import redis_client
from shop.tests.racing import race, wait_until

pytestmark = pytest.mark.django_db
colour: ContextVar[str] = ContextVar("colour", default="none")
RUNNERS = pytest.mark.parametrize("run", [asyncio.run, event_loop.run], ids=["loop", "thread"])


def doubled(numbers: Sequence[int]) -> list[int | Exception]:
    return [Rejected(str(number)) if number < 0 else 2 * number for number in numbers]


def at_once(work: Callable[[], Any]) -> Any:
    """In place of a transaction."""
    return work()


@pytest.fixture
def small_pool(monkeypatch: pytest.MonkeyPatch) -> ThreadPool:
    pool = ThreadPool("small", threads=4, max_waiting=40)
    monkeypatch.setattr(event_loop, "CALL_POOL", pool)
    return pool


@RUNNERS
def test_a_batch_decides_and_its_errors_are_raised_where_they_are_awaited(run: Any) -> None:
    batcher: Batcher[int, int] = Batcher(doubled, run=at_once)

    async def ask() -> int:
        with pytest.raises(Rejected, match="-3"):
            await event_loop.submit_to_batcher(batcher, -3)
        return await event_loop.submit_to_batcher(batcher, 4)

    assert run(ask()) == 8


def test_a_thousand_that_wait_for_a_batch_hold_no_thread() -> None:
    may_decide = threading.Event()
    sizes: list[int] = []

    def decide(numbers: Sequence[int]) -> list[int]:
        assert may_decide.wait(10)
        sizes.append(len(numbers))
        return list(numbers)

    batcher: Batcher[int, int] = Batcher(decide, run=at_once, max_batch=2_000)

    async def ask_all() -> list[int]:
        before = threading.active_count()
        asked = [
            asyncio.create_task(event_loop.submit_to_batcher(batcher, number)) for number in range(1_000)
        ]
        await asyncio.sleep(0.1)
        assert threading.active_count() <= before + 2, "its leader, and the watch of its deadlines"
        may_decide.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask_all()) == list(range(1_000))
    assert len(sizes) <= 3


def test_a_batcher_that_is_full_refuses_at_once_and_the_others_get_their_outcomes() -> None:
    may_decide = threading.Event()

    def decide(numbers: Sequence[int]) -> list[int]:
        assert may_decide.wait(10)
        return list(numbers)

    batcher: Batcher[int, int] = Batcher(decide, run=at_once, max_waiting=10)

    async def ask_all() -> list[Any]:
        first = asyncio.create_task(event_loop.submit_to_batcher(batcher, 0))
        await asyncio.sleep(0.2)
        asked = [
            asyncio.create_task(event_loop.submit_to_batcher(batcher, number)) for number in range(1, 16)
        ]
        await asyncio.sleep(0)
        assert sum(task.done() for task in asked) == 5
        may_decide.set()
        return await asyncio.gather(first, *asked, return_exceptions=True)

    outcomes = asyncio.run(ask_all())
    assert outcomes[:11] == list(range(11))
    assert {type(one) for one in outcomes[11:]} == {Overloaded}


@RUNNERS
def test_a_thread_runs_with_the_callers_context_and_changes_nothing_of_it(run: Any) -> None:
    def look() -> tuple[str, bool]:
        seen = colour.get()
        colour.set("the thread's")
        return seen, threading.current_thread() is threading.main_thread()

    async def ask() -> tuple[tuple[str, bool], str]:
        colour.set("the caller's")
        return await event_loop.run_in_thread(look), colour.get()

    (seen, is_here), after = run(ask())
    assert seen == "the caller's"
    assert is_here == (run is event_loop.run)
    if run is asyncio.run:
        assert after == "the caller's"
    colour.set("none")


def test_contexts_of_many_callers_do_not_mix(small_pool: ThreadPool) -> None:
    async def ask(name: str) -> list[str]:
        colour.set(name)
        seen = []
        for _ in range(5):
            seen.append(await event_loop.run_in_thread(colour.get))
            await asyncio.sleep(0)
        return seen

    async def ask_all() -> list[list[str]]:
        return [
            one
            for round in range(20)
            for one in await asyncio.gather(*[ask(f"{round} {number}") for number in range(8)])
        ]

    assert asyncio.run(ask_all()) == [[f"{round} {number}"] * 5 for round in range(20) for number in range(8)]


@pytest.mark.parametrize(
    "error", [ValueError("wrong"), Overloaded("too much"), StopIteration(3), SystemExit(1)]
)
def test_what_a_thread_raises_is_raised_where_it_is_awaited(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def ask() -> BaseException:
        with pytest.raises(Exception) as raised:
            await event_loop.run_in_thread(fail)
        assert await event_loop.run_in_thread(lambda: "the next one runs") == "the next one runs"
        return raised.value

    raised = asyncio.run(ask())
    assert raised is error or (
        isinstance(error, SystemExit | StopIteration) and isinstance(raised, RuntimeError)
    )


def test_calls_of_one_group_leave_half_of_the_threads_to_others(small_pool: ThreadPool) -> None:
    may_end = threading.Event()

    async def ask_all() -> None:
        slow = [
            asyncio.create_task(event_loop.run_in_thread(may_end.wait, 10, group="slow")) for _ in range(10)
        ]
        await asyncio.sleep(0.05)
        began_at = time.monotonic()
        for _ in range(20):
            assert await event_loop.run_in_thread(lambda: 7) == 7
        assert time.monotonic() - began_at < 2
        # A thread has given its result a moment before it is idle again.
        await asyncio.to_thread(wait_until, lambda: small_pool.busy() == 2)
        may_end.set()
        assert all(await asyncio.gather(*slow))

    asyncio.run(ask_all())


def test_one_account_has_few_places_and_others_go_on(small_pool: ThreadPool) -> None:
    may_end = threading.Event()

    async def ask_all() -> None:
        slow = [
            asyncio.create_task(event_loop.run_in_thread(may_end.wait, 10, group="slow", owner=7))
            for _ in range(40)
        ]
        await asyncio.sleep(0.05)
        refused = [task.exception() for task in slow if task.done()]
        assert {type(error) for error in refused} == {Overloaded}
        assert len(refused) == 40 - MAX_PER_OWNER
        assert await asyncio.wait_for(event_loop.run_in_thread(lambda: 7, owner=8), 2) == 7
        may_end.set()
        await asyncio.gather(*slow, return_exceptions=True)
        assert await event_loop.run_in_thread(lambda: 7, owner=7) == 7

    asyncio.run(ask_all())


def test_a_caller_that_gives_up_disturbs_nobody(small_pool: ThreadPool) -> None:
    done: list[int] = []

    def work(number: int) -> int:
        time.sleep(0.05)
        done.append(number)
        return number

    async def ask_all() -> list[Any]:
        tasks = [asyncio.create_task(event_loop.run_in_thread(work, number)) for number in range(8)]
        await asyncio.sleep(0.02)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(ask_all())
    assert outcomes[1::2] == [1, 3, 5, 7]
    assert {type(one) for one in outcomes[::2]} == {asyncio.CancelledError}
    wait_until(lambda: sorted(done) == list(range(8)))


@RUNNERS
def test_a_signal_ends_one_wait_and_counts_once(run: Any) -> None:
    async def ask() -> list[bool]:
        signal = Signal()
        signal.set()
        heard = [await signal.wait(5), await signal.wait(0.05)]
        threading.Timer(0.05, signal.set).start()
        return [*heard, await signal.wait(5), await signal.wait(0.05)]

    assert run(ask()) == [True, False, True, False]


@RUNNERS
def test_sleep_takes_its_time(run: Any) -> None:
    began_at = time.monotonic()
    run(event_loop.sleep(0.1))
    assert time.monotonic() - began_at >= 0.1


def test_a_coroutine_that_waits_for_a_loop_is_told_apart() -> None:
    with pytest.raises(RuntimeError, match=r"shop\.concurrency\.event_loop"):
        event_loop.run(asyncio.sleep(0))


def test_results_from_many_threads_at_once_all_arrive() -> None:
    """And a thread's result that comes just when others are handed over is not left lying."""

    async def ask_all() -> int:
        total = 0
        for _ in range(25):
            total += sum(await asyncio.gather(*[event_loop.run_in_thread(lambda: 1) for _ in range(200)]))
        return total

    assert asyncio.run(asyncio.wait_for(ask_all(), 60)) == 5_000


def test_a_result_that_cannot_be_handed_over_keeps_none_from_those_behind_it() -> None:
    async def deliver_both() -> str:
        loop = asyncio.get_running_loop()
        received: asyncio.Future[str] = loop.create_future()
        deliver = event_loop._deliveries_for(loop).deliver

        def fail(result: str) -> None:
            raise ValueError(result)

        deliver(fail, "first")
        deliver(received.set_result, "second")
        return await asyncio.wait_for(received, 2)

    assert asyncio.run(deliver_both()) == "second"


def test_loops_of_several_threads_get_their_own_results() -> None:
    async def ask(name: int) -> list[int]:
        return await asyncio.gather(*[event_loop.run_in_thread(lambda: name) for _ in range(50)])

    def on_a_loop(name: int) -> list[int]:
        return asyncio.run(ask(name))

    assert race([lambda name=name: on_a_loop(name) for name in range(4)]) == [
        [name] * 50 for name in range(4)
    ]


def test_redis_on_a_loop_is_refused() -> None:
    async def ask() -> None:
        redis_client.attempt(lambda client: client.ping(), otherwise=False)

    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(ask())
    assert redis_client.attempt(lambda client: client.ping(), otherwise=False)


def test_a_call_that_waits_too_long_for_a_thread_is_not_begun(
    small_pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_loop, "WAIT_SECONDS", 0.2)
    may_end, begun = threading.Event(), threading.Event()

    async def ask_all() -> None:
        slow = [asyncio.create_task(event_loop.run_in_thread(may_end.wait, 10)) for _ in range(4)]
        await asyncio.sleep(0.05)
        late = asyncio.create_task(event_loop.run_in_thread(begun.set))
        await asyncio.sleep(0.3)
        may_end.set()
        with pytest.raises(Overloaded, match="waited too long"):
            await late
        await asyncio.gather(*slow)

    asyncio.run(ask_all())
    assert not begun.is_set()
