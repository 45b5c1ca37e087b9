"""Waiting until something settles: woken, not polled, and without a thread on an event loop.

What settles a thing announces its name, which is its id; a process learns of announcements elsewhere through
Redis publish/subscribe, by one listening thread. Messages are lost while that thread has no connection: each
request that waits then looks again every second by itself, and all look when it is back. While it listens
they look after 10 s and then every 20 s.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

from django.conf import settings
from prometheus_client import Gauge
from redis.exceptions import RedisError
from structlog import get_logger

from shop.concurrency.event_loop import Signal
from shop.errors import Overloaded
from shop.redis import redis_client

log = get_logger(__name__)
CHANNEL = "firstcome:settled"
RECHECK_SECONDS = 1.0
"""Between two looks of a request that waits, while this process does not listen."""
LISTENING_RECHECK_SECONDS, LONGEST_RECHECK_SECONDS = 10.0, 20.0
"""The same while it listens: the first pause, doubled until the longest."""
MOST_OF_ONE_OWNER = 128
"""Requests of one account that wait in a process: it may send any number, for repeats are not counted."""
RECONNECT_SECONDS = 1.0
IDLE_SECONDS = 30.0

_mutex = threading.Lock()
_waiting: dict[str, set[Signal]] = defaultdict(set)
_count = 0
_waiting_by_owner: Counter[int] = Counter()
_listener: threading.Thread | None = None
_is_listening = False
_is_stopping = False
WAITING = Gauge(
    "firstcome_waiting_requests", "Requests that wait until something settles.", multiprocess_mode="livesum"
)


def notify_completed(*names: str) -> None:
    """Wake everything that waits for one of these names, in this process and in others; after the commit."""
    _wake(names)
    redis_client.attempt(lambda client: client.publish(CHANNEL, " ".join(names)), otherwise=0)


async def wait(
    name: str,
    *,
    is_settled: Callable[[], Awaitable[bool]],
    seconds: float,
    begin: Callable[[], None] | None = None,
    owner: int | None = None,
) -> bool:
    """Wait until `is_settled()`, at most `seconds`; whether it was settled when it was last asked.

    It is asked before the wait. With `begin`, which sets going what settles it, that is called instead, and
    `is_settled` is asked once it is announced, or after a while. False without a wait once the process stops,
    and where `WAITING_REQUESTS` wait in it already, or `MAX_PER_OWNER` of `owner`, the account that asks.
    A look after the first that is refused as `Overloaded` is made again; what else the two raise ends the
    wait.
    """
    with _register(name, owner) as signal:
        if begin:
            begin()
        elif await is_settled():
            return True
        return signal is not None and await _wait_for_signal(signal, is_settled, time.monotonic() + seconds)


def stop() -> None:
    """End every wait of this process, and each that begins later: it is about to end."""
    global _is_stopping
    _is_stopping = True
    _wake_all()


def waiting_count() -> int:
    """How many wait in this process (tests)."""
    return _count


async def _wait_for_signal(
    signal: Signal, is_settled: Callable[[], Awaitable[bool]], deadline: float
) -> bool:
    pause = LISTENING_RECHECK_SECONDS
    is_refused = False
    while not _is_stopping and (remaining := deadline - time.monotonic()) > 0:
        soon = is_refused or not _is_listening
        await signal.wait(min(remaining, RECHECK_SECONDS if soon else pause))
        try:
            is_refused = False
            if await is_settled():
                return True
        except Overloaded:
            # All who wait were woken together, and more of them look than may: it looks again.
            is_refused = True
        pause = min(2 * pause, LONGEST_RECHECK_SECONDS)
    return False


@contextmanager
def _register(name: str, owner: int | None) -> Iterator[Signal | None]:
    """A signal that is set when the name is announced; None where as many wait as may, in all or of one."""
    global _count
    _start_listener()
    signal = Signal()
    with _mutex:
        is_full = owner is not None and _waiting_by_owner[owner] >= MOST_OF_ONE_OWNER
        if is_full or _count >= settings.WAITING_REQUESTS:
            is_registered = False
        else:
            is_registered = True
            _count += 1
            if owner is not None:
                _waiting_by_owner[owner] += 1
            _waiting[name].add(signal)
            WAITING.set(_count)
    try:
        yield signal if is_registered else None
    finally:
        if is_registered:
            with _mutex:
                _count -= 1
                if owner is not None:
                    _waiting_by_owner[owner] -= 1
                    if not _waiting_by_owner[owner]:
                        del _waiting_by_owner[owner]
                WAITING.set(_count)
                _waiting[name].discard(signal)
                if not _waiting[name]:
                    del _waiting[name]


def _wake(names: Iterable[str]) -> None:
    with _mutex:
        signals = [signal for name in names for signal in _waiting.get(name, ())]
    for signal in signals:
        signal.set()


def _wake_all() -> None:
    with _mutex:
        names = list(_waiting)
    _wake(names)


def _start_listener() -> None:
    """Start the process's listening thread, once."""
    global _listener
    if _listener is not None and _listener.is_alive():
        return
    with _mutex:
        if _listener is None or not _listener.is_alive():
            _listener = threading.Thread(target=_run_listener, name="wakeups", daemon=True)
            _listener.start()


def _run_listener() -> None:
    global _is_listening
    while True:
        try:
            _forward_notifications()
        except (RedisError, OSError) as error:
            log.info("not listening for wake-ups", error=str(error))
        finally:
            _is_listening = False
        time.sleep(RECONNECT_SECONDS)


def _forward_notifications() -> None:
    global _is_listening
    with redis_client.client().pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(CHANNEL)
        _is_listening = True
        # For what was announced before.
        _wake_all()
        while True:
            message = subscription.get_message(timeout=IDLE_SECONDS)
            if message:
                _wake(message["data"].decode(errors="replace").split())
