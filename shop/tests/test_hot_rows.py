"""The concurrency limit of a row: few at once, and a queue that is bounded in number and time."""

import threading

import pytest

from shop.concurrency.hot_rows import ConcurrencyLimit
from shop.errors import Overloaded
from shop.tests.racing import race, wait_until


def test_no_more_requests_run_than_there_are_places() -> None:
    limit = ConcurrencyLimit(name="it", max_concurrent=3, max_queued=100)
    running, peak = [0], [0]
    mutex = threading.Lock()
    is_full = threading.Event()

    def enter() -> None:
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


def test_a_full_queue_and_a_long_wait_are_refused() -> None:
    limit = ConcurrencyLimit(name="it", max_concurrent=1, max_queued=1, wait_seconds=1.0)
    refusals: list[str] = []
    first_has_place, may_leave = threading.Event(), threading.Event()

    def hold() -> None:
        with limit.permit():
            first_has_place.set()
            assert may_leave.wait(10)

    def wait() -> None:
        try:
            with limit.permit():
                pytest.fail("there was no place")
        except Overloaded as refusal:
            refusals.append(refusal.code)

    holder = threading.Thread(target=hold)
    holder.start()
    assert first_has_place.wait(10)
    waiters = [threading.Thread(target=wait) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    wait_until(lambda: len(refusals) == 2, seconds=0.9)
    for waiter in waiters:
        waiter.join()
    may_leave.set()
    holder.join()

    assert refusals == ["overloaded"] * 3
    with limit.permit():
        assert not holder.is_alive()


def test_an_error_releases_the_place() -> None:
    limit = ConcurrencyLimit(name="it", max_concurrent=1, max_queued=0, wait_seconds=0.1)

    with pytest.raises(ZeroDivisionError), limit.permit():
        raise ZeroDivisionError

    with limit.permit() as place:
        assert place is None
