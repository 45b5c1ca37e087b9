"""Rates of two counters, and exact windows of attempts, in races, with Redis and without it."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from subprocess import Popen
from typing import Any

import pytest

from accounts.tests.clients import client_of, problem_of
from foundation import clock
from foundation.errors import Throttled, Unavailable
from foundation.idempotency.claims import InFlight
from foundation.idempotency.recorded_answers import Replay
from foundation.rates import rate_limits, throttling
from foundation.rates.rate import Rate
from foundation.rates.rate_limits import ORDERS, Usage
from foundation.rates.throttling import Limit
from foundation.redis import redis_client
from foundation.tests import process_state
from foundation.tests.factories import PASSWORD
from foundation.tests.racing import race, wait_until
from foundation.tests.second_process import another_process, read_line, send, starts_another_process
from foundation.tests.waiting import shifted

# Of no other test: its calls can't reach Redis from this process after Redis was emptied.
SHARED_ACCOUNT = 70_001
# Counts as many calls of that account as each input line says, and prints how many passed.
COUNTING = """
from foundation.errors import Throttled
from foundation.rates.rate_limits import ORDERS
print("ready", flush=True)
for line in sys.stdin:
    passed = 0
    for _ in range(int(line)):
        try:
            ORDERS.count(int(sys.argv[1]))
            passed += 1
        except Throttled:
            pass
    print(passed, flush=True)
"""


@pytest.fixture(autouse=True)
def _ten_a_minute(settings, monkeypatch):
    """At the beginning of a window, at which the clock stands still but for what a test shifts it by."""
    settings.RATE_ORDERS = Rate(10, 60)
    began = clock.seconds() + 60.01 - clock.seconds() % 60
    monkeypatch.setattr(clock, "seconds", lambda: began + clock._shift_seconds)


def passed(outcomes: list[Any]) -> int:
    return sum(outcome is None for outcome in outcomes)


def count(times: int, *, account_id=7) -> int:
    return passed(race([lambda: ORDERS.count(account_id)] * times))


def window(seconds=60) -> str:
    """The name of the current window in Redis."""
    return f"firstcome:{{rates}}:orders:{int(clock.seconds() // seconds)}"


def known_to_redis(name: str, *, account_id=7) -> int:
    return int(redis_client.client().hget(name, str(account_id)) or 0)


def passed_elsewhere(other: "Popen[str]", times: int) -> int:
    send(other, f"{times}")
    return int(read_line(other))


def test_of_fifty_calls_at_once_exactly_ten_pass_and_calls_of_other_accounts_too():
    assert count(50) == 10
    assert count(5, account_id=8) == 5


def test_the_window_slides_and_retry_after_says_when_a_call_is_allowed():
    assert count(4) == 4
    with shifted(seconds=20):
        assert count(20) == 6
        with pytest.raises(Throttled) as refusal:
            ORDERS.count(7)
        assert refusal.value.retry_after == 40
    with shifted(seconds=59):
        assert count(1) == 0
    with shifted(seconds=61):
        assert count(20) == 1, "most of the window before still counts; refusals count nothing"
    with shifted(seconds=90):
        assert count(20) == 4
        with pytest.raises(Throttled) as refusal:
            ORDERS.count(7)
        assert refusal.value.retry_after == 4
    with shifted(seconds=94):
        assert count(20) == 1


@pytest.mark.parametrize("times", [1, 2, 7, 40])
def test_less_than_twice_the_limit_pass_in_any_window_and_a_refused_call_passes_after_retry_after(
    settings, times
):
    """Calls come in rushes, as well as one by one, and often where a window ends."""
    settings.RATE_ORDERS = Rate(times, 1_000)
    # Of no other test, whose calls may reach Redis late.
    account_id = 80_000 + times
    choose, at, passed_at = random.Random(times), 0.0, []
    with shifted(seconds=1_000.01 - clock.seconds() % 1_000):
        for _ in range(150):
            until_end = 1_000 - at % 1_000
            at += choose.choice((choose.uniform(0, 2_500 / times), until_end - 1, until_end + 1))
            for _ in range(choose.choice((1, 2, 3 * times))):
                with shifted(seconds=at):
                    try:
                        ORDERS.count(account_id)
                    except Throttled as refusal:
                        retry_at = at + float(refusal.retry_after or 0)
                    else:
                        passed_at.append(at)
                        continue
                if choose.random() < 0.2:
                    with shifted(seconds=retry_at):
                        ORDERS.count(account_id)
                    at = retry_at
                    passed_at.append(at)
                break
    assert len(passed_at) > 2 * times
    for first in passed_at:
        assert sum(first <= other < first + 999 for other in passed_at) < 2 * times
        begin = first // 1_000 * 1_000
        assert sum(begin <= other < begin + 3_000 for other in passed_at) <= 3 * times


def test_without_a_setting_there_is_no_limit(settings):
    settings.RATE_ORDERS = None
    assert count(50) == 50
    with ORDERS.counting(7):
        pass
    assert not ORDERS._calls


def test_repeats_and_calls_that_find_the_shop_unavailable_are_not_counted_and_failures_are():
    replay = Replay(answer=None, reference=None)
    for _ in range(20):
        with ORDERS.counting(7) as counting:
            counting.outcome = replay
        with pytest.raises(InFlight), ORDERS.counting(7):
            raise InFlight
        with pytest.raises(Unavailable), ORDERS.counting(7):
            raise Unavailable("Redis is unavailable.")
    for _ in range(5):
        with ORDERS.counting(7) as counting:
            counting.outcome = "done"
        with pytest.raises(ValueError, match="wrong"), ORDERS.counting(7):
            raise ValueError("wrong")
    with pytest.raises(Throttled), ORDERS.counting(7):
        pytest.fail("the limit was not reached")


def test_calls_in_progress_count_towards_the_limit():
    def under_way(count):
        calls = ExitStack()
        for _ in range(count):
            calls.enter_context(ORDERS.counting(7))
        return calls

    with under_way(10):
        pass
    with shifted(seconds=121), under_way(10):
        with pytest.raises(Throttled) as refusal, ORDERS.counting(7):
            pytest.fail("the limit was not reached")
        assert refusal.value.retry_after == 1


@starts_another_process
def test_a_process_learns_of_other_processes_calls_with_its_own_next_call(settings):
    # A window that doesn't end meanwhile: the other process has a clock of its own.
    seconds = 9_999 * 86_400
    settings.RATE_ORDERS, name = Rate(10, seconds), window(seconds)
    with another_process(COUNTING, str(SHARED_ACCOUNT), RATE_ORDERS="10/9999d") as other:
        assert passed_elsewhere(other, 6) == 6
        wait_until(lambda: known_to_redis(name, account_id=SHARED_ACCOUNT) == 6)
        assert count(1, account_id=SHARED_ACCOUNT) == 1
        wait_until(lambda: ORDERS.read_usage(SHARED_ACCOUNT).used == 7)
        assert count(20, account_id=SHARED_ACCOUNT) == 3
        wait_until(lambda: known_to_redis(name, account_id=SHARED_ACCOUNT) == 10)
        assert passed_elsewhere(other, 1) == 1, "it learns of other processes' calls with its own next one"
        wait_until(lambda: passed_elsewhere(other, 1) == 0)


def test_what_is_used_is_read_from_redis_and_counts_nothing(settings):
    settings.RATE_PAYMENTS = None
    count(3)
    rate_limits.synchronize()
    process_state.forget_calls()

    for _ in range(2):
        usages = {usage.name: usage for usage in rate_limits.read_usages(7)}
        assert usages["orders"] == Usage("orders", 3, Rate(10, 60), True)
        assert usages["refreshes"].used == 0
        assert "payments" not in usages
    process_state.forget_calls()
    with shifted(seconds=90):
        assert ORDERS.read_usage(7) == Usage("orders", 2, Rate(10, 60), True), "half of three"
    with shifted(seconds=121):
        assert {usage.used for usage in rate_limits.read_usages(7)} == {0}


def test_what_is_used_without_redis_is_what_this_process_has_counted(own_redis):
    count(3)
    own_redis.kill()
    [usage] = [usage for usage in rate_limits.read_usages(7) if usage.name == "orders"]
    assert (usage.used, usage.is_shared) == (3, False)


def test_without_redis_each_process_counts_alone(own_redis):
    own_redis.stop()
    assert count(6) == 6
    rate_limits.synchronize()
    assert count(20) == 4
    own_redis.start()
    redis_client.reset()
    rate_limits.synchronize()
    assert count(20) == 0
    assert ORDERS.read_usage(7) == Usage("orders", 10, Rate(10, 60), is_shared=True)


def test_a_call_that_is_on_its_way_to_redis_is_in_what_is_read_meanwhile(monkeypatch):
    on_its_way, is_read = threading.Event(), threading.Event()
    to_redis, reader = redis_client.attempt, threading.current_thread()
    sender = threading.Thread(target=ORDERS.synchronize)

    def attempt(*args, **options):
        if threading.current_thread() is not reader:
            on_its_way.set()
            is_read.wait(10)
        return to_redis(*args, **options)

    monkeypatch.setattr(redis_client, "attempt", attempt)
    ORDERS.count(7)
    sender.start()
    assert on_its_way.wait(10)
    usage = ORDERS.read_usage(7)
    is_read.set()
    sender.join(10)

    assert usage == Usage("orders", 1, Rate(10, 60), is_shared=True)
    assert ORDERS.read_usage(7) == usage


def test_calls_whose_exchange_has_no_reply_count_once_and_only_in_their_process(monkeypatch):
    """Redis may have counted them all the same."""
    to_redis = redis_client.attempt

    def lose_reply(call, otherwise):
        to_redis(call, otherwise=otherwise)
        return otherwise

    ORDERS.count(7)
    with monkeypatch.context() as patch:
        patch.setattr(redis_client, "attempt", lose_reply)
        ORDERS.synchronize()
    ORDERS.synchronize()
    assert (ORDERS.read_usage(7).used, known_to_redis(window())) == (1, 1)


def test_redis_keeps_a_window_until_the_next_one_has_ended():
    count(3)
    ORDERS.synchronize()
    assert 60 < redis_client.client().ttl(window()) <= 120


def test_when_the_clock_goes_back_an_account_at_its_limit_is_not_refused_until_it_catches_up():
    """As after a failover to a server whose clock is 15 minutes behind."""
    with shifted(minutes=15):
        assert count(20) == 10
        rate_limits.synchronize()
    assert count(20) == 10
    with pytest.raises(Throttled) as refusal:
        ORDERS.count(7)
    assert 55 <= (refusal.value.retry_after or 0) <= 60


def test_a_fresh_process_takes_no_calls_of_the_future_from_redis():
    with shifted(minutes=15):
        assert count(10) == 10
        rate_limits.synchronize()
    process_state.forget_calls()
    ORDERS.read_usage(7)
    assert count(4) == 4
    rate_limits.synchronize()
    assert known_to_redis(window()) == 4


def test_memory_is_bounded_and_redis_remembers_what_was_forgotten(monkeypatch):
    monkeypatch.setattr(rate_limits, "MAX_COUNTERS", 100)
    assert count(9, account_id=1) == 9
    rate_limits.synchronize()
    for account_id in range(2, 150):
        ORDERS.count(account_id)
        assert len(ORDERS._calls) <= 100
    assert 1 not in {account_id for _, account_id in ORDERS._calls}
    ORDERS.count(1)
    rate_limits.synchronize()
    assert count(5, account_id=1) == 0


SHORT = Limit("short", times=2, seconds=1)
TEN = Limit("ten", times=10, seconds=60)
SIXTY = Limit("sixty", times=60, seconds=60)


@pytest.fixture(params=[True, False])
def with_redis_and_without(request, own_redis):
    if not request.param:
        own_redis.stop()


def passes(*attempts: throttling.Attempt) -> bool:
    try:
        throttling.count_attempt(attempts)
    except Throttled:
        return False
    return True


def attempt(name="ada") -> Callable[[], None]:
    return lambda: throttling.count_attempt([(TEN, name)])


def test_of_fifty_attempts_at_once_exactly_ten_pass():
    outcomes = race([attempt()] * 50)

    assert passed(outcomes) == 10
    assert sum(isinstance(outcome, Throttled) for outcome in outcomes) == 40


def test_counting_and_then_adding_lets_more_than_ten_pass():
    """The control case, like REST framework's throttles: read the history, then write it."""
    all_have_read = threading.Barrier(20, timeout=30)

    def check_naively():
        client = redis_client.client()
        count = client.zcard("naive")
        all_have_read.wait()
        if int(str(count)) >= TEN.times:
            raise Throttled("Too many attempts.", retry_after=60)
        client.zadd("naive", {threading.current_thread().name: time.time()})

    assert passed(race([check_naively] * 20)) == 20


def test_without_redis_exactly_ten_of_fifty_pass_too_and_redis_counts_again_when_it_is_back(own_redis):
    own_redis.stop()
    assert passed(race([attempt()] * 50)) == 10

    own_redis.start()
    redis_client.reset()
    assert passed(race([attempt()] * 50)) == 10
    assert redis_client.client().dbsize() == 1


def test_an_outage_of_redis_between_attempts_does_not_lift_the_limit(own_redis):
    assert passed(race([attempt()] * 20)) == 10
    own_redis.stop()

    # Redis' counts are unavailable: the process starts to count by itself, and stops at ten again.
    assert passed(race([attempt()] * 20)) == 10
    assert passed(race([attempt()] * 20)) == 0


@pytest.mark.usefixtures("with_redis_and_without")
def test_the_window_slides():
    assert passes((SHORT, "ada")) and passes((SHORT, "ada"))
    assert not passes((SHORT, "ada"))
    assert passes((SHORT, "bob"))

    wait_until(lambda: passes((SHORT, "ada")), seconds=3)


@pytest.mark.usefixtures("with_redis_and_without")
def test_a_refused_attempt_says_when_to_retry_and_counts_in_none_of_its_windows():
    for _ in range(10):
        assert passes((TEN, "ada"), (SIXTY, "192.0.2.1"))
    for _ in range(100):
        with pytest.raises(Throttled) as refused:
            throttling.count_attempt([(TEN, "ada"), (SIXTY, "192.0.2.1")])
        assert refused.value.retry_after in range(50, 61)

    results = [passes((TEN, str(n)), (SIXTY, "192.0.2.1")) for n in range(60)]

    assert sum(results) == 50


def test_memory_is_bounded_and_a_flood_does_not_lift_the_limit(own_redis, monkeypatch):
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
def test_a_subscriber_of_ipv6_is_one_whatever_the_address(address, network):
    assert throttling.network_of_address(address) == network


def register(name: str):
    return client_of().post("/users", {"username": name, "email": "ada@example.com", "password": PASSWORD})


def test_a_429_has_retry_after_in_seconds_and_then_the_call_is_accepted(db, monkeypatch):
    monkeypatch.setattr(throttling, "REGISTRATIONS", Limit("registrations-of-a-test", times=1, seconds=2))
    assert register("ada").status_code == 201

    refused = register("bob")

    assert problem_of(refused) == (429, "throttled")
    assert refused["Content-Type"] == "application/problem+json"
    assert refused["Retry-After"] in ("1", "2")
    # A refused call counts nothing, so repeated calls don't extend the wait.
    wait_until(lambda: register("bob").status_code == 201, seconds=int(refused["Retry-After"]) + 0.5)
