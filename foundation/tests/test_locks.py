"""The locks of Redis, fair and spinning: grants, leases, recovery; and the concurrency limit of a row."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, closing

import pytest
from django.db import transaction
from prometheus_client import REGISTRY
from redis import Redis

from foundation.concurrency.hot_rows import ConcurrencyLimit
from foundation.errors import Overloaded, Rejected, Unavailable
from foundation.redis import fair_lock, locks, redis_client
from foundation.redis.fair_lock import Turn
from foundation.tests import fair_locks
from foundation.tests.hung_server import Relay
from foundation.tests.racing import race, wait_until
from foundation.tests.second_process import another_process, read_line, starts_another_process
from foundation.tests.waiting import in_background
from scripts.stack import ports

NAME = "firstcome:{test}:lock"
LEASE_SECONDS = locks.LEASE_MILLISECONDS / 1000
# The time that a busy machine may add to a wait.
SLACK_SECONDS = 2.5

# Waits for the lock, and holds it until it reads a line.
HOLD = """
from foundation.tests import fair_locks
print("ready", flush=True)
with fair_locks.held(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""
# Four threads that wait for the lock, and retry if Redis was too slow for one of them.
FOUR_WAIT = """
import threading
from foundation.tests import fair_locks
from foundation.errors import Unavailable

def wait():
    try:
        with fair_locks.held(sys.argv[1], wait_seconds=60):
            pass
    except Unavailable:
        threading.Event().wait(0.2)
        wait()

for _ in range(4):
    threading.Thread(target=wait).start()
print("ready", flush=True)
sys.stdin.readline()
"""


def counted(metric: str, lock="fair") -> float:
    return REGISTRY.get_sample_value(f"firstcome_lock_{metric}", {"lock": lock}) or 0.0


def queue_length() -> int:
    return int(redis_client.client().zcard(f"{NAME}:line"))


def join_queue(*, wait_seconds=20.0) -> "Future[float]":
    def get_and_leave():
        with fair_locks.held(NAME, wait_seconds=wait_seconds):
            return time.monotonic()

    before = queue_length()
    future = in_background(get_and_leave)
    wait_until(lambda: queue_length() == before + 1)
    return future


def test_grants_are_in_queue_order_and_one_at_a_time():
    granted = []
    inside = threading.Lock()

    def visit():
        with fair_locks.held(NAME) as turn:
            assert inside.acquire(blocking=False)
            granted.append(turn.number)
            inside.release()

    assert race([visit] * 100) == [None] * 100
    assert granted == list(range(1, 101))
    assert queue_length() == 0


def test_the_next_waiter_is_woken_without_polling():
    """Thirty waiters, one after the other: polling twice a second would take more than seven seconds."""
    with fair_locks.held(NAME):
        waiting = [join_queue() for _ in range(30)]
        released_at = time.monotonic()
    ends = [future.result(30) for future in waiting]
    assert ends == sorted(ends)
    assert ends[-1] - released_at < 3.5


@pytest.mark.parametrize(
    ("kind", "held", "seconds"), [("fair", fair_locks.held, 0.7), ("spin", locks.spinning, 0.3)]
)
def test_a_wait_that_times_out_is_refused_and_counted_and_leaves_the_queue(kind, held, seconds):
    before = counted("timeouts_total", kind)
    with held(NAME), pytest.raises(Rejected) as refusal, held(NAME, wait_seconds=seconds):
        pytest.fail("two held the lock")
    assert (refusal.value.code, refusal.value.retry_after) == ("lock_not_acquired", 1)
    assert counted("timeouts_total", kind) == before + 1
    assert queue_length() == 0


def test_a_lost_wake_up_is_found_by_polling():
    """The lock is granted, and the wake-up is deleted before the waiter receives it."""
    with fair_locks.held(NAME) as turn:
        future = join_queue()
        [second] = redis_client.client().zrange(f"{NAME}:line", 0, -1)
        pipeline = redis_client.client().pipeline(transaction=True)
        pipeline.eval(fair_lock.LEAVE_SCRIPT, 4, *turn.keys, turn.token, locks.LEASE_MILLISECONDS)
        pipeline.delete(f"{NAME}:wake:{second.decode()}")
        assert pipeline.execute() == [1, 1]
        lost_at = time.monotonic()
        assert future.result(10) - lost_at < fair_lock.POLL_SECONDS + SLACK_SECONDS


def test_the_lease_is_renewed_while_the_lock_is_held():
    with fair_locks.held(NAME):
        with pytest.raises(Rejected), fair_locks.held(NAME, wait_seconds=LEASE_SECONDS + 1.5):
            pytest.fail("the lease of a live holder expired")
        assert redis_client.client().pttl(NAME) > 0
    assert not redis_client.client().exists(NAME)


@starts_another_process
def test_a_paused_holder_loses_the_lock_and_releases_nothing_when_it_continues():
    with another_process(HOLD, NAME) as holder:
        assert read_line(holder) == "held"
        os.kill(holder.pid, signal.SIGSTOP)
        with fair_locks.held(NAME):
            os.kill(holder.pid, signal.SIGCONT)
            holder.communicate("go on\n", timeout=30)
            assert holder.returncode == 0
            with pytest.raises(Rejected), fair_locks.held(NAME, wait_seconds=0.6):
                pytest.fail("the first one's release freed the second one's lock")


@starts_another_process
def test_killed_waiters_are_skipped_together_after_their_time(monkeypatch):
    """The first of them may be granted the lock once more, for one lease; the others cost nothing."""
    with ExitStack() as leaving:
        with monkeypatch.context() as for_now:
            # The other process may take any time to start.
            for_now.setattr(locks, "LEASE_MILLISECONDS", 60_000)
            leaving.enter_context(fair_locks.held(NAME))
            with another_process(FOUR_WAIT, NAME):
                wait_until(lambda: queue_length() == 4)
                future = join_queue()
        killed_at = time.monotonic()
    assert future.result(30) - killed_at < LEASE_SECONDS + fair_lock.POLL_SECONDS + SLACK_SECONDS


def test_a_flushed_queue_is_restored_in_order_and_no_waiter_hangs(redis_server):
    before = counted("leases_lost_total")
    with fair_locks.held(NAME) as turn:
        waiting = [join_queue() for _ in range(10)]
        numbers = redis_client.client().zrange(f"{NAME}:line", 0, -1)
        redis_server.flushdb()
        # The lock has a holder again before the first of them polls, so that all of them queue behind it.
        assert fair_lock._join_or_poll(turn)
        wait_until(lambda: queue_length() == 10)
        assert redis_client.client().zrange(f"{NAME}:line", 0, -1) == numbers
        redis_server.flushdb()
        flushed_at = time.monotonic()
        ends = [future.result(20) for future in waiting]
    assert max(ends) - flushed_at < 2 * fair_lock.POLL_SECONDS + SLACK_SECONDS
    assert counted("leases_lost_total") == before + 1


def test_a_waiter_assumed_dead_keeps_its_position():
    holder, silent, other = Turn(NAME), Turn(NAME), Turn(NAME)
    assert [fair_lock._join_or_poll(turn) for turn in (holder, silent, other)] == [True, False, False]
    redis_client.client().hset(f"{NAME}:alive", silent.token, 0)
    fair_lock._leave(holder)
    assert fair_lock._join_or_poll(other)
    new_turn = Turn(NAME)
    assert [fair_lock._join_or_poll(turn) for turn in (new_turn, silent)] == [False, False]
    fair_lock._leave(other)
    assert fair_lock._join_or_poll(silent)


def test_a_waiter_survives_a_moment_without_redis_and_in_an_outage_all_are_refused(own_redis):
    with fair_locks.held(NAME):
        future = join_queue()
        own_redis.stop()
        own_redis.start()
    assert future.result(20)
    with fair_locks.held(NAME):
        future = join_queue(wait_seconds=3600)
        own_redis.stop()
        with pytest.raises(Unavailable), fair_locks.held(NAME, wait_seconds=3600):
            pytest.fail("there is no lock without Redis")
        with pytest.raises(Unavailable):
            future.result(20)


def test_a_holder_that_lost_it_neither_renews_nor_releases_anothers():
    with fair_locks.held(NAME):
        redis_client.client().set(NAME, "another's:1", ex=60)
        fair_lock._renew_all()
        assert redis_client.client().pttl(NAME) > 1_000 * LEASE_SECONDS
    assert redis_client.client().get(NAME) == b"another's:1"
    redis_client.client().delete(NAME)


def test_twenty_leases_are_renewed_in_time_by_a_slow_redis(own_redis, settings, tmp_path):
    """Renewed one after the other they took six seconds, which is longer than a lease lasts."""
    names = [f"{NAME}-{number}" for number in range(20)]
    directly = Redis.from_url(own_redis.url)
    address, server = tmp_path / "redis.sock", (socket.AF_INET, (ports.HOST, own_redis.port))
    with closing(Relay(address, server, delay_seconds=0.3)), ExitStack() as leases:
        settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": f"unix://{address}"}}
        for name in names:
            directly.set(name, f"ours:{name}", px=5_000)
            leases.enter_context(fair_lock.kept_alive(name, "ours"))
        for name in names:
            directly.pexpire(name, 2_500)
        wait_until(lambda: all(directly.pttl(name) > 2_500 for name in names), seconds=2.4)
        assert directly.exists(*names) == len(names)


# The lock that is acquired by polling


@pytest.mark.parametrize(("is_locked", "most_at_once"), [(True, 1), (False, 10)])
def test_one_thread_at_a_time_holds_it_and_all_run_at_once_without_it(is_locked, most_at_once):
    inside, most = [0], [0]
    all_are_in = threading.Event()

    def visit():
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        if inside[0] == 10:
            all_are_in.set()
        all_are_in.wait(0.02 if is_locked else 10)
        inside[0] -= 1

    def visit_locked():
        with locks.spinning(NAME):
            visit()

    assert race([visit_locked if is_locked else visit] * 10) == [None] * 10
    assert most == [most_at_once]


def test_releasing_a_lock_after_its_lease_expired_does_not_free_the_next_holders():
    before = counted("leases_lost_total", "spin")
    with locks.spinning(NAME, lease_milliseconds=50):
        second = locks.spinning(NAME)
        second.__enter__()
    assert counted("leases_lost_total", "spin") == before + 1
    with pytest.raises(Rejected), locks.spinning(NAME, wait_seconds=0.3):
        pytest.fail("the first holder's release freed the second holder's lock")
    second.__exit__(None, None, None)
    with locks.spinning(NAME, wait_seconds=0.0):
        pass


def test_the_lock_ends_with_its_lease_and_is_not_waited_for_inside_a_transaction(transactional_db):
    with locks.spinning(NAME, lease_milliseconds=5_000):
        assert 0 < redis_client.client().pttl(NAME) <= 5_000
    assert not redis_client.client().exists(NAME)
    with transaction.atomic(), pytest.raises(transaction.TransactionManagementError), locks.spinning(NAME):
        pytest.fail("a transaction was kept open meanwhile")


# The concurrency limit of a row


def test_no_more_requests_run_than_there_are_places():
    limit = ConcurrencyLimit(name="it", max_concurrent=3)
    running, peak = [0], [0]
    mutex = threading.Lock()
    is_full = threading.Event()

    def enter():
        with limit.permit():
            with mutex:
                running[0] += 1
                peak[0] = max(peak[0], running[0])
                if running[0] == 3:
                    is_full.set()
            assert is_full.wait(10)
            with mutex:
                running[0] -= 1

    assert race([enter] * 40) == [None] * 40
    assert peak == [3]


def test_a_long_wait_is_refused_and_a_place_is_left_to_the_next_after_an_error_too():
    limit = ConcurrencyLimit(name="it", max_concurrent=1, wait_seconds=0.2)

    def wait():
        with pytest.raises(Overloaded) as refusal, limit.permit():
            pytest.fail("there was no place")
        return refusal.value.code

    with limit.permit():
        assert race([wait] * 3) == ["overloaded"] * 3
    with pytest.raises(ZeroDivisionError), limit.permit():
        assert race([wait] * 3) == ["overloaded"] * 3
        raise ZeroDivisionError
    with limit.permit() as place:
        assert place is None
