import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import LazySettings
from redis import Redis

from shop.redis import redis_client
from shop.tests.outages import OwnRedis
from shop.tests.racing import race, wait_until
from shop.tests.test_http_client import serving


@pytest.fixture(autouse=True)
def _forget_outages() -> Iterator[None]:
    yield
    redis_client.reset()


def count(client: Redis) -> Any:
    return client.incr("count")


def timed(call: Any) -> tuple[Any, float]:
    started_at = time.monotonic()
    return call(), time.monotonic() - started_at


@contextmanager
def server_that(does: Any, settings: LazySettings) -> Iterator[None]:
    """A server for the shop's Redis client that calls `does(connection)` for each connection."""
    with serving(does) as address:
        settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": f"redis://{address}/0"}}
        yield


def test_while_redis_is_down_calls_are_skipped_and_it_recovers_by_itself(own_redis: OwnRedis) -> None:
    own_redis.stop()
    first, seconds = timed(lambda: redis_client.attempt(count, otherwise=-1))
    assert (first, seconds < 1) == (-1, True)
    rest, seconds = timed(lambda: [redis_client.attempt(count, otherwise=-1) for _ in range(100)])
    assert (set(rest), seconds < 1) == ({-1}, True)
    own_redis.start()
    wait_until(lambda: redis_client.attempt(count, otherwise=-1) == 1)
    assert redis_client.attempt(count, otherwise=-1) == 2


def test_a_redis_that_hangs_costs_one_caller_at_a_time_a_second(settings: LazySettings) -> None:
    over = threading.Event()
    with server_that(lambda connection: over.wait(60), settings):
        redis_client.attempt(count, otherwise=-1)
        deadline = time.monotonic() + 3

        def call_repeatedly() -> list[float]:
            slow = []
            while time.monotonic() < deadline:
                _, seconds = timed(lambda: redis_client.attempt(count, otherwise=-1))
                if seconds > 0.4:
                    slow.append(seconds)
                threading.Event().wait(0.01)
            return slow

        slow = [seconds for times in race([call_repeatedly] * 8) for seconds in times]
    over.set()
    assert 1 <= len(slow) <= 4
    assert max(slow) < 2


def test_a_call_is_never_repeated_by_the_client(settings: LazySettings) -> None:
    """It may have had its effect: a counter or a script must not run twice."""
    received: list[bytes] = []

    def break_off(connection: socket.socket) -> None:
        received.append(connection.recv(4096))

    with server_that(break_off, settings):
        assert redis_client.attempt(count, otherwise=-1) == -1
    assert len(received) == 1


def test_a_refused_call_is_no_outage(own_redis: OwnRedis) -> None:
    redis_client.attempt(lambda client: client.set("text", "no number"), otherwise=None)
    assert redis_client.attempt(lambda client: client.incr("text"), otherwise=-1) == -1
    assert redis_client.attempt(count, otherwise=-1) == 1
