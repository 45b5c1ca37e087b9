"""The concurrency limit of a row: few at once, and a wait that is bounded."""

import threading

import pytest

from shop.concurrency.hot_rows import ConcurrencyLimit
from shop.errors import Overloaded
from shop.tests.racing import race


def test_no_more_requests_run_than_there_are_places() -> None:
    limit = ConcurrencyLimit(name="it", max_concurrent=3)
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


def test_a_long_wait_is_refused_and_leaves_the_place_to_the_next() -> None:
    limit = ConcurrencyLimit(name="it", max_concurrent=1, wait_seconds=0.2)

    def wait() -> str:
        with pytest.raises(Overloaded) as refusal, limit.permit():
            pytest.fail("there was no place")
        return refusal.value.code

    with limit.permit():
        assert race([wait] * 3) == ["overloaded"] * 3
    with limit.permit() as place:
        assert place is None


def test_an_error_releases_the_place() -> None:
    limit = ConcurrencyLimit(name="it", max_concurrent=1, wait_seconds=0.1)

    with pytest.raises(ZeroDivisionError), limit.permit():
        raise ZeroDivisionError

    with limit.permit() as place:
        assert place is None
