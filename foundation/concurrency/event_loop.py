"""What coroutines of API calls wait for: a batch, a thread of the pool, a notification, time.

On an event loop a wait holds no thread. In tests and management commands the same coroutine runs under
`run_blocking`, and each wait blocks the thread instead.
"""

import asyncio
import contextvars
import threading
import time
from asyncio import AbstractEventLoop, Future, _get_running_loop as running_loop
from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from concurrent import futures
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, TypeVar

from foundation.concurrency.batching import Batcher
from foundation.concurrency.thread_pool import CALL_POOL, ThreadPool
from foundation.errors import Overloaded
from foundation.lazy_texts import mark

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")
WAIT_SECONDS = 10.0
"""For a thread; a call that waited longer is not started."""


def run_blocking(coroutine: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run the coroutine, blocking this thread in each of its waits. Not for a thread with an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome
    coroutine.close()
    raise RuntimeError(
        "The coroutine waits for an event loop: use the waits of foundation.concurrency.event_loop."
    )


class _Deliveries:
    """Results that other threads pass to an event loop: it is woken once for all that arrive together."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._results: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._is_awaited = False

    def deliver(self, receive: Callable[[Any], None], result: Any) -> None:
        """Have `receive(result)`, which raises nothing, called on the loop soon; callable from any thread."""
        self._results.append((receive, result))
        if not self._is_awaited:
            self._is_awaited = True
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        # Before the first is taken: a result that arrives from here on wakes the loop again.
        self._is_awaited = False
        while self._results:
            receive, result = self._results.popleft()
            receive(result)


_deliveries_for = lru_cache(maxsize=4)(_Deliveries)


async def submit_to_batcher(batcher: Batcher[Request, Outcome], request: Request) -> Outcome:
    """The outcome of the request once its batch is committed. Raises what `Batcher.submit` raises."""
    loop = running_loop()
    if loop is None:
        return batcher.submit(request)
    future: Future[Outcome] = loop.create_future()
    batcher.enter(request, partial(_deliveries_for(loop).deliver, partial(_end_wait, future)))
    return await future


async def run_in_thread(
    function: Callable[..., Outcome],
    *arguments: Any,
    group: Hashable | None = None,
    member: Hashable | None = None,
    owner: int | None = None,
    pool: ThreadPool | None = None,
) -> Outcome:
    """Call a function that blocks in a thread of the pool, with this context, and return its result.

    `group`, `member` and `owner`, the calling account, are as for `ThreadPool.start`; `pool` replaces the
    pool of calls. Raises what the function raises, `Overloaded` at once if too many calls wait, and after
    `WAIT_SECONDS` without a thread.
    """
    loop = running_loop()
    if loop is None:
        return function(*arguments)
    future: Future[Outcome] = loop.create_future()
    deliver = _deliveries_for(loop).deliver
    context = contextvars.copy_context()
    end_wait = partial(_end_wait, future)
    entered_at = time.monotonic()

    def work() -> None:
        try:
            if time.monotonic() - entered_at > WAIT_SECONDS:
                raise Overloaded(mark("The request waited too long for a thread; nothing was done."))
            result = context.run(function, *arguments)
        except Exception as error:
            deliver(end_wait, error)
        except BaseException:
            deliver(end_wait, RuntimeError("The thread of this call has ended."))
            raise
        else:
            deliver(partial(_set_result, future), result)

    (pool or CALL_POOL).start(work, group=group, member=member, owner=owner)
    return await future


def run_in_background(function: Callable[[], Any], *, pool: ThreadPool | None = None) -> None:
    """Call a function in the pool without waiting for it, or here without an event loop; skipped while too
    many calls wait for a thread.
    """
    if running_loop() is None:
        function()
    else:
        with suppress(Overloaded):
            (pool or CALL_POOL).start(function)


async def sleep(seconds: float) -> None:
    if running_loop() is None:
        time.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


async def wait_for_end(run: "futures.Future[Any]", seconds: float) -> None:
    """Wait until another thread's work has ended, but no longer than this. It goes on if the wait is
    cancelled.
    """
    if running_loop() is None:
        futures.wait([run], timeout=seconds)
    else:
        await asyncio.wait({asyncio.wrap_future(run)}, timeout=seconds)


class Signal:
    """Wakes the one coroutine, or thread without an event loop, that waits for it; any thread may call `set`.

    It belongs to the event loop on which it is created, or to none.
    """

    __slots__ = ("_deliveries", "_event", "_future", "_is_set")

    def __init__(self) -> None:
        loop = running_loop()
        self._is_set = False
        self._future: Future[None] | None = None
        self._event = threading.Event() if loop is None else None
        self._deliveries = _deliveries_for(loop) if loop else None

    def set(self) -> None:
        """End the wait; a wait that starts later ends at once."""
        if self._event:
            self._event.set()
        elif self._deliveries:
            self._deliveries.deliver(self._wake, None)

    async def wait(self, seconds: float) -> bool:
        """Wait for `set`, at most so many seconds; return whether it was set. Each `set` ends one wait."""
        if self._event:
            is_set = self._event.wait(seconds)
            self._event.clear()
            return is_set
        loop = asyncio.get_running_loop()
        if not self._is_set:
            self._future = loop.create_future()
            timer = loop.call_later(seconds, _end_wait, self._future, None)
            try:
                await self._future
            finally:
                timer.cancel()
                self._future = None
        is_set = self._is_set
        self._is_set = False
        return is_set

    def _wake(self, _: None) -> None:
        self._is_set = True
        if self._future:
            _end_wait(self._future, None)


def _end_wait(future: "Future[Any]", outcome: Any) -> None:
    """End a wait with an outcome, unless its request was cancelled; an exception is raised there."""
    if not isinstance(outcome, Exception):
        _set_result(future, outcome)
        return
    if isinstance(outcome, StopIteration):
        # A future doesn't accept it, because it would end the waiting coroutine.
        outcome = RuntimeError(f"A StopIteration was raised: {outcome.value!r}")
    if not future.done():
        future.set_exception(outcome)


def _set_result(future: "Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)
