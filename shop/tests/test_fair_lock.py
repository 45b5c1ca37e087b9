"""The lock with a line before it: in order, woken, and past whatever dies or gets lost on the way."""

import os
import signal
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from prometheus_client import REGISTRY

from shop.errors import Rejected, Unavailable
from shop.redis import fair_lock, locks, redis_client
from shop.redis.fair_lock import Turn
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
from shop.redis import fair_lock
print("ready", flush=True)
with fair_lock.held(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""
# Four that wait for the lock, and begin again if Redis was too slow for one of them.
FOUR_WAIT = """
import threading
from shop.redis import fair_lock
from shop.errors import Unavailable

def wait():
    try:
        with fair_lock.held(sys.argv[1], wait_seconds=60):
            pass
    except Unavailable:
        threading.Event().wait(0.2)
        wait()

for _ in range(4):
    threading.Thread(target=wait).start()
print("ready", flush=True)
sys.stdin.readline()
"""


def counted(metric: str) -> float:
    return REGISTRY.get_sample_value(f"firstcome_lock_{metric}", {"lock": "fair"}) or 0.0


def get_and_leave(wait_seconds: float) -> float:
    """When this one had the lock."""
    with fair_lock.held(NAME, wait_seconds=wait_seconds):
        return time.monotonic()


def in_line() -> int:
    return int(redis_client.client().zcard(f"{NAME}:line"))


def stand_in_line(*, wait_seconds: float = 20.0) -> "Future[float]":
    """Somebody who stands in line, behind all who do already."""
    before = in_line()
    future = in_background(partial(get_and_leave, wait_seconds))
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
        [second] = redis_client.client().zrange(f"{NAME}:line", 0, -1)
        pipeline = redis_client.client().pipeline(transaction=True)
        pipeline.eval(fair_lock.LEAVE_SCRIPT, 4, *turn.keys, turn.token, locks.LEASE_MILLISECONDS)
        pipeline.delete(f"{NAME}:wake:{second.decode()}")
        assert pipeline.execute() == [1, 1]
        lost_at = time.monotonic()
        assert future.result(10) - lost_at < fair_lock.POLL_SECONDS + SLACK_SECONDS


def test_the_lease_is_renewed_as_long_as_the_lock_is_held() -> None:
    with fair_lock.held(NAME):
        with pytest.raises(Rejected), fair_lock.held(NAME, wait_seconds=LEASE_SECONDS + 1.5):
            pytest.fail("the lease of somebody who is alive ran out")
        assert redis_client.client().pttl(NAME) > 0


def test_a_holder_that_was_killed_stops_the_others_for_the_rest_of_its_lease() -> None:
    with another_process(HOLD, NAME) as holder:
        assert heard(holder) == "held"
        future = stand_in_line()
        holder.kill()
        killed_at = time.monotonic()
        waited = future.result(20) - killed_at
    assert waited < LEASE_SECONDS + fair_lock.POLL_SECONDS + SLACK_SECONDS


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


def test_waiters_that_were_killed_are_skipped_together_after_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of them may be handed the lock once more, for one lease; the others cost nothing."""
    with ExitStack() as leaving:
        with monkeypatch.context() as for_now:
            # However long the other process takes to start.
            for_now.setattr(locks, "LEASE_MILLISECONDS", 60_000)
            leaving.enter_context(fair_lock.held(NAME))
            with another_process(FOUR_WAIT, NAME):
                wait_until(lambda: in_line() == 4)
                future = stand_in_line()
        killed_at = time.monotonic()
    assert future.result(30) - killed_at < LEASE_SECONDS + fair_lock.POLL_SECONDS + SLACK_SECONDS


def test_asking_and_leaving_twice_is_the_same_as_once() -> None:
    first, second, third = Turn(NAME), Turn(NAME), Turn(NAME)
    asked = [fair_lock._join_or_poll(turn) for turn in (first, first, second, third, second)]
    assert asked == [True, True, False, False, False]
    assert [turn.number for turn in (first, second, third)] == [1, 2, 3]
    assert [fair_lock._leave(first), fair_lock._leave(first)] == [True, False]
    assert [fair_lock._join_or_poll(turn) for turn in (third, second, second)] == [False, True, True]


def test_nothing_of_it_stays_in_redis_for_long() -> None:
    with fair_lock.held(NAME):
        future = stand_in_line()
        keys = redis_client.client().keys(f"{NAME}*")
        assert len(keys) == 4
        assert all(0 < redis_client.client().pttl(key) <= fair_lock.QUEUE_EXPIRY_MILLISECONDS for key in keys)
    future.result(10)
    assert redis_client.client().keys(f"{NAME}*") == [f"{NAME}:number".encode()]


def test_a_flushed_line_stands_again_in_its_order_and_nobody_hangs(redis_server: Any) -> None:
    before = counted("leases_lost_total")
    with fair_lock.held(NAME) as turn:
        waiting = [stand_in_line() for _ in range(10)]
        numbers = redis_client.client().zrange(f"{NAME}:line", 0, -1)
        redis_server.flushdb()
        # The lock is somebody's again before the first of them asks, so that all of them line up behind.
        assert fair_lock._join_or_poll(turn)
        wait_until(lambda: in_line() == 10)
        assert redis_client.client().zrange(f"{NAME}:line", 0, -1) == numbers
        redis_server.flushdb()
        flushed_at = time.monotonic()
        ends = [future.result(20) for future in waiting]
    assert max(ends) - flushed_at < 2 * fair_lock.POLL_SECONDS + SLACK_SECONDS
    assert counted("leases_lost_total") == before + 1


def test_who_was_taken_for_dead_gets_the_old_place_back() -> None:
    holder, silent, other = Turn(NAME), Turn(NAME), Turn(NAME)
    assert [fair_lock._join_or_poll(turn) for turn in (holder, silent, other)] == [True, False, False]
    redis_client.client().hset(f"{NAME}:alive", silent.token, 0)
    fair_lock._leave(holder)
    assert fair_lock._join_or_poll(other)
    newcomer = Turn(NAME)
    assert [fair_lock._join_or_poll(turn) for turn in (newcomer, silent)] == [False, False]
    fair_lock._leave(other)
    assert fair_lock._join_or_poll(silent)


def test_who_waits_lives_through_a_moment_without_redis(own_redis: OwnRedis) -> None:
    with fair_lock.held(NAME):
        future = stand_in_line()
        own_redis.stop()
        own_redis.start()
    assert future.result(20)


def test_without_redis_newcomers_are_refused_at_once_and_waiters_after_seconds(own_redis: OwnRedis) -> None:
    with fair_lock.held(NAME):
        future = stand_in_line(wait_seconds=3600)
        own_redis.stop()
        with pytest.raises(Unavailable), fair_lock.held(NAME, wait_seconds=3600):
            pytest.fail("there is no lock without Redis")
        with pytest.raises(Unavailable):
            future.result(20)
