"""Waiting until something settles: woken, not polled.

A waiter sleeps on an event of its process. Whoever settles the thing announces it; a process learns of
announcements elsewhere through Redis publish/subscribe, by one listening thread. A lost message costs
at most `RECHECK_SECONDS`, for each waiter looks again at that pace.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError
from structlog import get_logger

from shop import redis, threads

log = get_logger(__name__)
CHANNEL = "firstcome:settled"
RECHECK_SECONDS = 1.0
RECONNECT_SECONDS = 1.0
IDLE_SECONDS = 30.0

_mutex = threading.Lock()
_waiting: dict[str, set[threading.Event]] = defaultdict(set)
_listener: threading.Thread | None = None
# All requests that sleep in a process's threads, here or for other reasons: half of them at most.
sleeping = threading.BoundedSemaphore(threads.OURS.sleeping)


def announce(*names: str) -> None:
    """Wake everybody who waits for one of these names, in this process and in others; after the commit."""
    _wake(names)
    redis.attempt(lambda client: client.publish(CHANNEL, " ".join(names)), otherwise=0)


def wait(
    name: str, *, is_settled: Callable[[], bool], seconds: float, begin: Callable[[], None] | None = None
) -> bool:
    """Wait until `is_settled()`, at most `seconds`; at once False when as many sleep as may.

    With `begin`, which sets going what settles it, nobody looks before it is announced, or for a while.
    """
    if not sleeping.acquire(blocking=False):
        return _told_at_once(is_settled, begin)
    try:
        with _registered(name) as event:
            ends_at = time.monotonic() + seconds
            return _told_at_once(is_settled, begin) or _woken(event, is_settled, ends_at)
    finally:
        sleeping.release()


def _told_at_once(is_settled: Callable[[], bool], begin: Callable[[], None] | None) -> bool:
    if begin is None:
        return is_settled()
    begin()
    return False


def _woken(event: threading.Event, is_settled: Callable[[], bool], deadline: float) -> bool:
    while (remaining := deadline - time.monotonic()) > 0:
        event.wait(min(remaining, RECHECK_SECONDS))
        event.clear()
        if is_settled():
            return True
    return False


@contextmanager
def _registered(name: str) -> Iterator[threading.Event]:
    _listen()
    event = threading.Event()
    with _mutex:
        _waiting[name].add(event)
    try:
        yield event
    finally:
        with _mutex:
            _waiting[name].discard(event)
            if not _waiting[name]:
                del _waiting[name]


def _wake(names: Iterable[str]) -> None:
    with _mutex:
        for name in names:
            for event in _waiting.get(name, ()):
                event.set()


def _listen() -> None:
    """Start the process's listening thread, once."""
    global _listener
    with _mutex:
        if _listener is None or not _listener.is_alive():
            _listener = threading.Thread(target=_hear, name="wakeups", daemon=True)
            _listener.start()


def _hear() -> None:
    while True:
        try:
            _pass_on_announcements()
        except (RedisError, OSError) as error:
            log.info("not listening for wake-ups", error=str(error))
            time.sleep(RECONNECT_SECONDS)


def _pass_on_announcements() -> None:
    with redis.client().pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(CHANNEL)
        while True:
            message = subscription.get_message(timeout=IDLE_SECONDS)
            if message:
                _wake(message["data"].decode(errors="replace").split())
