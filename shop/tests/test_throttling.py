"""Sliding windows are exact under races, with Redis and without it."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from shop import redis, throttling
from shop.errors import Throttled
from shop.tests.clients import client_of
from shop.tests.factories import PASSWORD, AccountFactory
from shop.tests.outages import OwnRedis
from shop.tests.racing import race, wait_until
from shop.throttling import SIGN_INS_FROM_ADDRESS, SIGN_INS_OF_NAME, Limit

SHORT = Limit("short", times=2, seconds=1)


def passes(*attempts: throttling.Attempt) -> bool:
    try:
        throttling.check(attempts)
    except Throttled:
        return False
    return True


def passed(outcomes: list[Any]) -> int:
    return sum(outcome is None for outcome in outcomes)


def sign_in_attempt(who: str = "ada") -> Callable[[], None]:
    return lambda: throttling.check([(SIGN_INS_OF_NAME, who)])


def test_of_fifty_attempts_at_once_exactly_ten_pass() -> None:
    outcomes = race([sign_in_attempt()] * 50)

    assert passed(outcomes) == 10
    assert sum(isinstance(outcome, Throttled) for outcome in outcomes) == 40


def test_counting_and_then_adding_lets_more_than_ten_pass() -> None:
    """The naive twin, as REST framework's throttles do it: read the history, then write it."""
    looked = threading.Barrier(20, timeout=30)

    def check_naively() -> None:
        client = redis.client()
        count = client.zcard("naive")
        looked.wait()
        if int(str(count)) >= SIGN_INS_OF_NAME.times:
            raise Throttled("Too many attempts.", retry_after=60)
        client.zadd("naive", {threading.current_thread().name: time.time()})

    assert passed(race([check_naively] * 20)) == 20


def test_without_redis_exactly_ten_of_fifty_pass_too_and_redis_counts_again_when_it_is_back(
    own_redis: OwnRedis,
) -> None:
    own_redis.stop()
    assert passed(race([sign_in_attempt()] * 50)) == 10

    own_redis.start()
    redis.reset()
    assert passed(race([sign_in_attempt()] * 50)) == 10
    assert redis.client().dbsize() == 1


def test_a_redis_that_goes_away_between_attempts_unthrottles_nobody(own_redis: OwnRedis) -> None:
    assert passed(race([sign_in_attempt()] * 20)) == 10
    own_redis.stop()

    # What Redis knew is gone with it: the process starts to count by itself, and stops at ten again.
    assert passed(race([sign_in_attempt()] * 20)) == 10
    assert passed(race([sign_in_attempt()] * 20)) == 0


@pytest.mark.parametrize("is_redis_there", [True, False])
def test_the_window_slides(own_redis: OwnRedis, is_redis_there: bool) -> None:
    if not is_redis_there:
        own_redis.stop()
    assert passes((SHORT, "ada")) and passes((SHORT, "ada"))
    assert not passes((SHORT, "ada"))
    assert passes((SHORT, "bob"))

    wait_until(lambda: passes((SHORT, "ada")), seconds=3)


@pytest.mark.parametrize("is_redis_there", [True, False])
def test_a_refused_attempt_counts_in_none_of_its_windows(own_redis: OwnRedis, is_redis_there: bool) -> None:
    if not is_redis_there:
        own_redis.stop()
    for _ in range(10):
        assert passes((SIGN_INS_OF_NAME, "ada"), (SIGN_INS_FROM_ADDRESS, "192.0.2.1"))
    for _ in range(100):
        assert not passes((SIGN_INS_OF_NAME, "ada"), (SIGN_INS_FROM_ADDRESS, "192.0.2.1"))

    others = [passes((SIGN_INS_OF_NAME, str(n)), (SIGN_INS_FROM_ADDRESS, "192.0.2.1")) for n in range(60)]

    assert sum(others) == 50


@pytest.mark.parametrize("is_redis_there", [True, False])
def test_the_refusal_says_when_to_come_back(own_redis: OwnRedis, is_redis_there: bool) -> None:
    if not is_redis_there:
        own_redis.stop()
    for _ in range(10):
        throttling.check([(SIGN_INS_OF_NAME, "ada")])

    with pytest.raises(Throttled) as refused:
        throttling.check([(SIGN_INS_OF_NAME, "ada")])

    assert refused.value.retry_after in range(50, 61)


def test_memory_is_bounded_and_a_flood_unthrottles_nobody(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_redis.stop()
    monkeypatch.setattr(throttling, "MOST_WINDOWS", 3)
    for who in ("ada", "bob", "eve"):
        assert passes((SHORT, who))

    assert not passes((SHORT, "one more"))
    assert len(throttling._windows) == 3
    assert passes((SHORT, "ada"))


def test_windows_that_nobody_uses_make_room(own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    own_redis.stop()
    monkeypatch.setattr(throttling, "MOST_WINDOWS", 3)
    monkeypatch.setattr(throttling, "LONGEST_SECONDS", 1)
    for who in ("ada", "bob", "eve"):
        assert passes((SHORT, who))

    wait_until(lambda: passes((SHORT, "one more")), seconds=3)


def sign_in(name: str, address: str = "192.0.2.1", password: str = "wrong") -> Any:
    return Client(REMOTE_ADDR=address).post(
        "/api/v1/auth/token", {"username": name, "password": password}, content_type="application/json"
    )


@pytest.mark.django_db
def test_the_eleventh_sign_in_within_a_minute_is_refused_whatever_the_password() -> None:
    AccountFactory(username="ada")
    statuses = [sign_in("ada", address=f"192.0.2.{number}").status_code for number in range(10)]
    refused = sign_in("ada", address="192.0.2.99", password=PASSWORD)

    assert statuses == [401] * 10
    assert refused.status_code == 429
    assert refused.json()["code"] == "throttled"
    assert int(refused.headers["Retry-After"]) in range(1, 61)
    assert sign_in("bob", address="192.0.2.99").status_code == 401


@pytest.mark.django_db
def test_other_spellings_of_a_name_are_the_same_name() -> None:
    AccountFactory(username="ada")
    spellings = ["ada", "ADA", "Ada", "aDa", "adA"]

    statuses = [sign_in(spelling).status_code for spelling in spellings * 3]

    assert statuses == [401] * 10 + [429] * 5


@pytest.mark.django_db
def test_the_sixty_first_sign_in_from_an_address_is_refused() -> None:
    statuses = [sign_in(f"somebody-{number}").status_code for number in range(61)]

    assert statuses == [401] * 60 + [429]
    assert sign_in("somebody-61", address="192.0.2.2").status_code == 401


@pytest.mark.django_db
def test_signing_in_works_while_redis_is_away_and_is_still_throttled(own_redis: OwnRedis) -> None:
    AccountFactory(username="ada")
    own_redis.stop()

    statuses = [sign_in("ada", password=PASSWORD).status_code for _ in range(11)]

    assert statuses == [200] * 10 + [429]


@pytest.mark.django_db
def test_the_sixty_first_registration_from_an_address_is_refused() -> None:
    for number in range(60):
        body = {"username": f"ada-{number}", "email": "ada@example.com", "password": PASSWORD}
        assert client_of().post("/users", body).status_code == 201

    refused = client_of().post(
        "/users", {"username": "one-more", "email": "ada@example.com", "password": PASSWORD}
    )

    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) in range(3000, 3601)
