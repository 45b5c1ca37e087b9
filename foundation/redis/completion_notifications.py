"""Waiting for completion by notification rather than polling, on an event loop and without a thread.

One listening thread per process receives other processes' notifications by Redis publish/subscribe. While it
has no connection waiting requests check again every second, and all of them check when it reconnects.
"""

import threading
import time
from asyncio import _get_running_loop as running_loop
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

from django.conf import settings
from prometheus_client import Gauge
from structlog import get_logger

from foundation.concurrency.event_loop import Signal
from foundation.concurrency.thread_pool import PROCESS_SHARES
from foundation.errors import Overloaded
from foundation.redis import redis_client
from foundation.repeated_work import RepeatedWork

log = get_logger(__name__)
CHANNEL = "firstcome:settled"
RECHECK_SECONDS = 1.0
"""Between two checks of a waiting request, while this process does not listen."""
LISTENING_RECHECK_SECONDS = 10.0
LONGEST_RECHECK_SECONDS = 20.0
"""The same while it listens: the first pause, doubled up to the longest."""
MOST_OF_ONE_OWNER = 128
"""Waiting requests of one account in a process. An account may send any number: rate limits skip repeats."""
RECONNECT_SECONDS = 1.0
IDLE_SECONDS = 30.0

_threads = threading.BoundedSemaphore(max(1, PROCESS_SHARES.calling // 2))
"""Of calls that wait in Django's lane, each of which holds a thread of the pool."""

_mutex = threading.Lock()
_waiting: dict[str, set[Signal]] = defaultdict(set)
_count = 0
_waiting_by_owner: Counter[int] = Counter()
_is_listening = False
_is_stopping = False
WAITING = Gauge(
    "firstcome_waiting_requests",
    "Requests that wait for the completion of something.",
    multiprocess_mode="livesum",
)


def notify_completed(*names: str) -> None:
    """Wake the requests that wait for these names, in all processes. Must be called after the commit."""
    _wake(names)
    redis_client.attempt(lambda client: client.publish(CHANNEL, " ".join(names)), otherwise=0)


async def wait(
    name: str,
    *,
    is_settled: Callable[[], Awaitable[bool]],
    seconds: float,
    begin: Callable[[], bool] | None = None,
    owner: int | None = None,
    most_of_owner: int | None = None,
) -> bool:
    """Wait until `is_settled()` is true, at most `seconds`; return its last result.

    `is_settled` is checked before the wait, unless `begin` is given, which starts the work, and returns
    whether that may be over already. Returns False without waiting while the process stops, when
    `WAITING_REQUESTS` already wait in it, or half of its threads where each wait holds one, or
    `most_of_owner` of the account `owner`. A check during the wait that raises `Overloaded` is repeated.
    """
    with _register(name, owner, MOST_OF_ONE_OWNER if most_of_owner is None else most_of_owner) as signal:
        is_on_loop = running_loop() is not None
        if (begin is None or begin()) and await is_settled():
            return True
        if signal is None or not (is_on_loop or _threads.acquire(blocking=False)):
            return False
        try:
            return await _wait_for_signal(signal, is_settled, time.monotonic() + seconds)
        finally:
            if not is_on_loop:
                _threads.release()


def stop() -> None:
    """End all waits of this process, and those that begin later, because it is about to exit."""
    global _is_stopping
    _is_stopping = True
    _wake(list(_waiting))


async def _wait_for_signal(
    signal: Signal, is_settled: Callable[[], Awaitable[bool]], deadline: float
) -> bool:
    pause = LISTENING_RECHECK_SECONDS
    while not _is_stopping and (remaining := deadline - time.monotonic()) > 0:
        await signal.wait(min(remaining, pause if _is_listening else RECHECK_SECONDS))
        pause = min(2 * pause, LONGEST_RECHECK_SECONDS)
        try:
            if await is_settled():
                return True
        except Overloaded:
            # All waiting requests were woken together, and more of them check than fit: check again.
            pause = RECHECK_SECONDS
    return False


@contextmanager
def _register(name: str, owner: int | None, most_of_owner: int) -> Iterator[Signal | None]:
    """A signal that is set when the name is completed; None at the limit of waiting requests."""
    _listener.start()
    signal = Signal()
    with _mutex:
        is_full = owner is not None and _waiting_by_owner[owner] >= most_of_owner
        is_registered = not is_full and _count < settings.WAITING_REQUESTS
        if is_registered:
            _waiting[name].add(signal)
            _count_waiting(1, owner)
    if not is_registered:
        yield None
        return
    try:
        yield signal
    finally:
        with _mutex:
            _waiting[name].discard(signal)
            if not _waiting[name]:
                del _waiting[name]
            _count_waiting(-1, owner)


def _count_waiting(change: int, owner: int | None) -> None:
    """With the mutex held: count a request that begins or ends its wait."""
    global _count
    _count += change
    WAITING.set(_count)
    if owner is not None:
        _waiting_by_owner[owner] += change
        if not _waiting_by_owner[owner]:
            del _waiting_by_owner[owner]


def _wake(names: Iterable[str]) -> None:
    with _mutex:
        signals = [signal for name in names for signal in _waiting.get(name, ())]
    for signal in signals:
        signal.set()


def _listen() -> None:
    global _is_listening
    try:
        with redis_client.client().pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(CHANNEL)
            _is_listening = True
            # Notifications before the subscription were lost.
            _wake(list(_waiting))
            while True:
                message = subscription.get_message(timeout=IDLE_SECONDS)
                if message:
                    _wake(message["data"].decode(errors="replace").split())
    finally:
        _is_listening = False


_listener = RepeatedWork(
    _listen, name="completion notifications", pause=lambda: RECONNECT_SECONDS, begins_at_once=True
)
