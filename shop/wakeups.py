"""Waiting until something settles: woken, not polled.

A waiter sleeps on an event of its process. Whoever settles the thing announces it; a process learns of
announcements elsewhere through Redis publish/subscribe, by one listening thread. A lost message costs
at most `RECHECK_SECONDS`, for each waiter looks again at that pace.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable

from django.conf import settings
from redis.exceptions import RedisError
from structlog import get_logger

from shop import redis

log = get_logger(__name__)
CHANNEL = "firstcome:settled"
RECHECK_SECONDS = 1.0
RECONNECT_SECONDS = 1.0
IDLE_SECONDS = 30.0

_mutex = threading.Lock()
_waiting: dict[str, set[threading.Event]] = defaultdict(set)
_listener: threading.Thread | None = None
# Waiting buyers hold at most half of a process's threads, so that they never starve the others.
_places = threading.BoundedSemaphore(settings.WEB_THREADS // 2)


def announce(name: str) -> None:
    """Wake everybody who waits for `name`, in this process and in others. Call it after the commit."""
    _wake(name)
    redis.attempt(lambda client: client.publish(CHANNEL, name), otherwise=0)


def wait(name: str, *, is_settled: Callable[[], bool], seconds: float) -> bool:
    """Wait until `is_settled()`, at most `seconds`; at once False when half of the threads wait already."""
    if not _places.acquire(blocking=False):
        return is_settled()
    try:
        return _waited(name, is_settled, time.monotonic() + seconds)
    finally:
        _places.release()


def _waited(name: str, is_settled: Callable[[], bool], deadline: float) -> bool:
    _listen()
    event = threading.Event()
    with _mutex:
        _waiting[name].add(event)
    try:
        while not is_settled():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            event.wait(min(remaining, RECHECK_SECONDS))
            event.clear()
        return True
    finally:
        with _mutex:
            _waiting[name].discard(event)
            if not _waiting[name]:
                del _waiting[name]


def _wake(name: str) -> None:
    with _mutex:
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
                _wake(message["data"].decode(errors="replace"))
