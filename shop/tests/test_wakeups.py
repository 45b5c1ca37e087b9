import subprocess
import threading
import time

import pytest
import redis as redis_client
from django.conf import settings as configured

from shop import wakeups
from shop.tests import tally
from shop.tests.outages import OwnRedis
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import another_connection, ask
from shop.tests.second_process import another_process, heard

# Waits until the tally stands at one, and then says when that was; its argument is how long it sleeps at
# most. It is ready once it has looked for the first time: what happens from then on it has to be told.
WAITER = """
import time
from shop import wakeups
from shop.tests import tally

wakeups.RECHECK_SECONDS = float(sys.argv[1])
looks = []

def is_counted():
    looks.append(tally.counted() == 1)
    if len(looks) == 1:
        print("ready", flush=True)
    return looks[-1]

is_settled = wakeups.wait("order-1", is_settled=is_counted, seconds=30)
print(is_settled, time.monotonic(), flush=True)
"""
NEVER, NORMALLY = "3600", str(wakeups.RECHECK_SECONDS)


def settle() -> None:
    with another_connection() as other:
        ask(other, "UPDATE tally SET value = 1 WHERE id = %s", tally.HOT)


def woken_at(process: "subprocess.Popen[str]") -> float:
    is_settled, at = heard(process).split()
    assert is_settled == "True"
    return float(at)


def listeners(server: OwnRedis) -> int:
    with redis_client.Redis.from_url(server.url) as client:
        return int(client.pubsub_numsub(wakeups.CHANNEL)[0][1])


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here nobody looks again by the clock, so that only an announcement can wake."""
    monkeypatch.setattr(wakeups, "RECHECK_SECONDS", 3600.0)


def test_a_waiter_in_another_process_is_woken_within_milliseconds(
    counting: None, own_redis: OwnRedis
) -> None:
    with another_process(WAITER, NEVER, REDIS_URL=own_redis.url) as process:
        wait_until(lambda: listeners(own_redis) == 1)
        settle()
        announced_at = time.monotonic()
        wakeups.announce("order-1")
        assert woken_at(process) - announced_at < 0.3


def test_an_announcement_of_something_else_wakes_nobody(counting: None, own_redis: OwnRedis) -> None:
    with another_process(WAITER, NEVER, REDIS_URL=own_redis.url) as process:
        wait_until(lambda: listeners(own_redis) == 1)
        settle()
        wakeups.announce("order-2")
        announced_at = time.monotonic()
        wakeups.announce("order-1")
        assert 0 < woken_at(process) - announced_at < 10


def test_without_redis_a_waiter_in_another_process_looks_again(counting: None, own_redis: OwnRedis) -> None:
    own_redis.stop()
    with another_process(WAITER, NORMALLY, REDIS_URL=own_redis.url) as process:
        settle()
        settled_at = time.monotonic()
        wakeups.announce("order-1")
        assert woken_at(process) - settled_at < 3


def test_a_waiter_is_woken_again_after_redis_was_restarted(counting: None, own_redis: OwnRedis) -> None:
    with another_process(WAITER, NEVER, REDIS_URL=own_redis.url) as process:
        wait_until(lambda: listeners(own_redis) == 1)
        own_redis.stop()
        own_redis.start()
        wait_until(lambda: listeners(own_redis) == 1)
        settle()
        announced_at = time.monotonic()
        wakeups.announce("order-1")
        assert woken_at(process) - announced_at < 10


@pytest.mark.parametrize("is_redis_up", [True, False])
def test_waiters_of_this_process_are_woken_with_and_without_redis(
    own_redis: OwnRedis, is_redis_up: bool
) -> None:
    if not is_redis_up:
        own_redis.stop()
    settled = threading.Event()

    def announce() -> None:
        wait_until(lambda: len(wakeups._waiting.get("order-1", ())) == 5)
        settled.set()
        wakeups.announce("order-1")

    started_at = time.monotonic()
    assert race(
        [lambda: wakeups.wait("order-1", is_settled=settled.is_set, seconds=30)] * 5 + [announce]
    ) == [True] * 5 + [None]
    assert time.monotonic() - started_at < 10
    assert "order-1" not in wakeups._waiting


def test_what_settles_between_the_look_and_the_sleep_is_not_missed() -> None:
    looks: list[bool] = []

    def settle_just_after_the_first_look() -> bool:
        looks.append(bool(looks))
        wakeups.announce("order-1")
        return looks[-1]

    assert wakeups.wait("order-1", is_settled=settle_just_after_the_first_look, seconds=30)
    assert looks == [False, True]


def test_whoever_waits_in_vain_is_told_so_in_time() -> None:
    started_at = time.monotonic()
    assert not wakeups.wait("order-1", is_settled=lambda: False, seconds=0.3)
    assert 0.3 <= time.monotonic() - started_at < 2
    assert "order-1" not in wakeups._waiting


def test_at_most_half_of_the_threads_wait_and_the_next_is_answered_at_once() -> None:
    half = configured.WEB_THREADS // 2
    settled = threading.Event()

    def one_too_many() -> tuple[bool, bool, float]:
        wait_until(lambda: len(wakeups._waiting.get("order-1", ())) == half)
        started_at = time.monotonic()
        unsettled = wakeups.wait("order-1", is_settled=lambda: False, seconds=30)
        is_settled = wakeups.wait("order-1", is_settled=lambda: True, seconds=30)
        seconds = time.monotonic() - started_at
        settled.set()
        wakeups.announce("order-1")
        return unsettled, is_settled, seconds

    def waiter() -> bool:
        return wakeups.wait("order-1", is_settled=settled.is_set, seconds=30)

    *waited, (unsettled, is_settled, seconds) = race([waiter] * half + [one_too_many])
    assert waited == [True] * half
    assert (unsettled, is_settled, seconds < 1) == (False, True, True)
    assert not wakeups.wait("order-1", is_settled=lambda: False, seconds=0.01)
    # The places are free again.
    assert race([lambda: wakeups.wait("order-2", is_settled=lambda: True, seconds=1)] * half) == [True] * half


def test_a_waiter_whose_look_fails_gives_its_place_back() -> None:
    def fail() -> bool:
        raise ValueError("the look failed")

    for _ in range(configured.WEB_THREADS):
        with pytest.raises(ValueError):
            wakeups.wait("order-1", is_settled=fail, seconds=1)
    assert "order-1" not in wakeups._waiting
