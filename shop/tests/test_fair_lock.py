"""The lock with a line before it: in order, woken, and past whatever dies or gets lost on the way."""

import os
import signal
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

import pytest
from prometheus_client import REGISTRY

from shop import fair_lock, locks, redis
from shop.errors import Rejected, Unavailable
from shop.fair_lock import Turn
from shop.tests.outages import OwnRedis
from shop.tests.racing import race, wait_until
from shop.tests.second_process import another_process, heard
from shop.tests.waiting import in_background

NAME = "firstcome:{test}:fair-lock"
LEASE_SECONDS = locks.LEASE_MILLISECONDS / 1000
# What a busy machine may add to a wait that has to end.
SLACK_SECONDS = 2.5

# Waits for the lock, and holds it until told to go on.
HOLD = """
from shop import fair_lock
print("ready", flush=True)
with fair_lock.held(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""


def counted(metric: str) -> float:
    return REGISTRY.get_sample_value(f"firstcome_lock_{metric}", {"lock": "fair"}) or 0.0


def get_and_leave() -> float:
    """When this one had the lock."""
    with fair_lock.held(NAME):
        return time.monotonic()


def in_line() -> int:
    return int(redis.client().zcard(f"{NAME}:line"))


def stand_in_line() -> "Future[float]":
    """Somebody who stands in line, behind all who do already."""
    before = in_line()
    future = in_background(get_and_leave)
    wait_until(lambda: in_line() == before + 1)
    return future


def test_grants_are_in_the_order_of_the_line_and_one_at_a_time() -> None:
    granted: list[int] = []
    inside = threading.Lock()

    def visit() -> None:
        with fair_lock.held(NAME) as turn:
            assert inside.acquire(blocking=False)
            granted.append(turn.number)
            inside.release()

    assert race([visit] * 100) == [None] * 100
    assert granted == list(range(1, 101))
    assert in_line() == 0


def test_who_is_next_is_woken_and_does_not_find_out_by_asking() -> None:
    """Thirty, one after the other: by asking twice a second they would take seven seconds and more."""
    with fair_lock.held(NAME):
        waiting = [stand_in_line() for _ in range(30)]
        let_go_at = time.monotonic()
    ends = [future.result(30) for future in waiting]
    assert ends == sorted(ends)
    assert ends[-1] - let_go_at < 3.5


def test_who_waited_in_vain_is_told_so_and_leaves_the_line() -> None:
    before = counted("timeouts_total")
    with fair_lock.held(NAME), pytest.raises(Rejected) as refusal, fair_lock.held(NAME, wait_seconds=0.7):
        pytest.fail("two held it")
    assert (refusal.value.code, refusal.value.retry_after) == ("lock_not_acquired", 1)
    assert counted("timeouts_total") == before + 1
    assert in_line() == 0


def test_a_wake_up_that_got_lost_is_found_by_asking() -> None:
    """The lock is handed over, and the wake-up taken away before anybody can hear it."""
    with fair_lock.held(NAME) as turn:
        future = stand_in_line()
        [second] = redis.client().zrange(f"{NAME}:line", 0, -1)
        pipeline = redis.client().pipeline(transaction=True)
        pipeline.eval(fair_lock.LEAVE, 4, *turn.keys, turn.token, locks.LEASE_MILLISECONDS)
        pipeline.delete(f"{NAME}:wake:{second.decode()}")
        assert pipeline.execute() == [1, 1]
        lost_at = time.monotonic()
        assert future.result(10) - lost_at < fair_lock.LOOK_SECONDS + SLACK_SECONDS


def test_the_lease_is_renewed_as_long_as_the_lock_is_held() -> None:
    with fair_lock.held(NAME):
        with pytest.raises(Rejected), fair_lock.held(NAME, wait_seconds=LEASE_SECONDS + 1.5):
            pytest.fail("the lease of somebody who is alive ran out")
        assert redis.client().pttl(NAME) > 0


def test_a_holder_that_was_killed_stops_the_others_for_the_rest_of_its_lease() -> None:
    with another_process(HOLD, NAME) as holder:
        assert heard(holder) == "held"
        future = stand_in_line()
        holder.kill()
        killed_at = time.monotonic()
        waited = future.result(20) - killed_at
    assert waited < LEASE_SECONDS + fair_lock.LOOK_SECONDS + SLACK_SECONDS


def test_a_paused_holder_loses_the_lock_and_frees_nothing_when_it_goes_on() -> None:
    with another_process(HOLD, NAME) as holder:
        assert heard(holder) == "held"
        os.kill(holder.pid, signal.SIGSTOP)
        with fair_lock.held(NAME):
            os.kill(holder.pid, signal.SIGCONT)
            holder.communicate("go on\n", timeout=30)
            assert holder.returncode == 0
            with pytest.raises(Rejected), fair_lock.held(NAME, wait_seconds=0.6):
                pytest.fail("the first one's release freed the second one's lock")


def test_waiters_that_were_killed_are_skipped_together_after_their_time() -> None:
    """The first of them may be handed the lock once more, for one lease; the others cost nothing."""
    with ExitStack() as waiters, fair_lock.held(NAME):
        dead = []
        for count in range(4):
            dead.append(waiters.enter_context(another_process(HOLD, NAME)))
            wait_until(lambda count=count: in_line() == count + 1)
        future = stand_in_line()
        for process in dead:
            process.kill()
        killed_at = time.monotonic()
    assert future.result(30) - killed_at < LEASE_SECONDS + fair_lock.LOOK_SECONDS + SLACK_SECONDS


def test_asking_and_leaving_twice_is_the_same_as_once() -> None:
    first, second, third = Turn(NAME), Turn(NAME), Turn(NAME)
    asked = [fair_lock._ask(turn) for turn in (first, first, second, third, second)]
    assert asked == [True, True, False, False, False]
    assert [turn.number for turn in (first, second, third)] == [1, 2, 3]
    assert [fair_lock._leave(first), fair_lock._leave(first)] == [True, False]
    assert [fair_lock._ask(turn) for turn in (third, second, second)] == [False, True, True]


def test_nothing_of_it_stays_in_redis_for_long() -> None:
    with fair_lock.held(NAME):
        future = stand_in_line()
        keys = redis.client().keys(f"{NAME}*")
        assert len(keys) == 4
        assert all(0 < redis.client().pttl(key) <= fair_lock.KEPT_MILLISECONDS for key in keys)
    future.result(10)
    assert redis.client().keys(f"{NAME}*") == [f"{NAME}:number".encode()]


def test_a_flushed_line_stands_again_and_nobody_hangs(redis_server: Any) -> None:
    before = counted("leases_lost_total")
    with fair_lock.held(NAME):
        waiting = [stand_in_line() for _ in range(10)]
        redis_server.flushdb()
        flushed_at = time.monotonic()
        ends = [future.result(20) for future in waiting]
    assert max(ends) - flushed_at < 2 * fair_lock.LOOK_SECONDS + SLACK_SECONDS
    assert counted("leases_lost_total") == before + 1


def test_who_waits_lives_through_a_moment_without_redis(own_redis: OwnRedis) -> None:
    with fair_lock.held(NAME):
        future = stand_in_line()
        own_redis.stop()
        own_redis.start()
    assert future.result(20)


def test_without_redis_newcomers_are_refused_at_once_and_waiters_after_seconds(own_redis: OwnRedis) -> None:
    with fair_lock.held(NAME):
        future = stand_in_line()
        own_redis.stop()
        began_at = time.monotonic()
        with pytest.raises(Unavailable), fair_lock.held(NAME):
            pytest.fail("there is no lock without Redis")
        assert time.monotonic() - began_at < 1
        with pytest.raises(Unavailable):
            future.result(20)
        assert time.monotonic() - began_at < sum(fair_lock.HICCUPS) + SLACK_SECONDS
