"""Sliding windows are exact under races, with Redis and without it."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from shop.errors import Throttled
from shop.rates import throttling
from shop.rates.throttling import Limit
from shop.redis import redis_client
from shop.tests.outages import OwnRedis
from shop.tests.racing import race, wait_until

SHORT = Limit("short", times=2, seconds=1)
TEN = Limit("ten", times=10, seconds=60)
SIXTY = Limit("sixty", times=60, seconds=60)


@pytest.fixture(params=[True, False])
def with_redis_and_without(request: pytest.FixtureRequest, own_redis: OwnRedis) -> None:
    if not request.param:
        own_redis.stop()


def passes(*attempts: throttling.Attempt) -> bool:
    try:
        throttling.count_attempt(attempts)
    except Throttled:
        return False
    return True


def passed(outcomes: list[Any]) -> int:
    return sum(outcome is None for outcome in outcomes)


def attempt(name: str = "ada") -> Callable[[], None]:
    return lambda: throttling.count_attempt([(TEN, name)])


def test_of_fifty_attempts_at_once_exactly_ten_pass() -> None:
    outcomes = race([attempt()] * 50)

    assert passed(outcomes) == 10
    assert sum(isinstance(outcome, Throttled) for outcome in outcomes) == 40


def test_counting_and_then_adding_lets_more_than_ten_pass() -> None:
    """The control case, like REST framework's throttles: read the history, then write it."""
    all_have_read = threading.Barrier(20, timeout=30)

    def check_naively() -> None:
        client = redis_client.client()
        count = client.zcard("naive")
        all_have_read.wait()
        if int(str(count)) >= TEN.times:
            raise Throttled("Too many attempts.", retry_after=60)
        client.zadd("naive", {threading.current_thread().name: time.time()})

    assert passed(race([check_naively] * 20)) == 20


def test_without_redis_exactly_ten_of_fifty_pass_too_and_redis_counts_again_when_it_is_back(
    own_redis: OwnRedis,
) -> None:
    own_redis.stop()
    assert passed(race([attempt()] * 50)) == 10

    own_redis.start()
    redis_client.reset()
    assert passed(race([attempt()] * 50)) == 10
    assert redis_client.client().dbsize() == 1


def test_an_outage_of_redis_between_attempts_does_not_lift_the_limit(own_redis: OwnRedis) -> None:
    assert passed(race([attempt()] * 20)) == 10
    own_redis.stop()

    # Redis' counts are unavailable: the process starts to count by itself, and stops at ten again.
    assert passed(race([attempt()] * 20)) == 10
    assert passed(race([attempt()] * 20)) == 0


@pytest.mark.usefixtures("with_redis_and_without")
def test_the_window_slides() -> None:
    assert passes((SHORT, "ada")) and passes((SHORT, "ada"))
    assert not passes((SHORT, "ada"))
    assert passes((SHORT, "bob"))

    wait_until(lambda: passes((SHORT, "ada")), seconds=3)


@pytest.mark.usefixtures("with_redis_and_without")
def test_a_refused_attempt_counts_in_none_of_its_windows() -> None:
    for _ in range(10):
        assert passes((TEN, "ada"), (SIXTY, "192.0.2.1"))
    for _ in range(100):
        assert not passes((TEN, "ada"), (SIXTY, "192.0.2.1"))

    results = [passes((TEN, str(n)), (SIXTY, "192.0.2.1")) for n in range(60)]

    assert sum(results) == 50


@pytest.mark.usefixtures("with_redis_and_without")
def test_the_refusal_says_when_to_retry() -> None:
    for _ in range(10):
        throttling.count_attempt([(TEN, "ada")])

    with pytest.raises(Throttled) as refused:
        throttling.count_attempt([(TEN, "ada")])

    assert refused.value.retry_after in range(50, 61)


def test_memory_is_bounded_and_a_flood_does_not_lift_the_limit(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_redis.stop()
    monkeypatch.setattr(throttling, "MAX_WINDOWS", 3)
    for name in ("ada", "bob", "eve"):
        assert passes((SHORT, name))

    assert not passes((SHORT, "one more"))
    assert len(throttling._windows) == 3
    assert passes((SHORT, "ada"))
    # Dropped once they have ended: an address that tries ever new names must not use up all for an hour.
    wait_until(lambda: passes((SHORT, "one more")), seconds=3)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_subscriber_of_ipv6_is_one_whatever_the_address(address: str, network: str) -> None:
    assert throttling.network_of_address(address) == network
