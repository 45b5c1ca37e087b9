"""Who may queue at a row: a few, with a line before them that is bounded in number and time."""

import threading

import pytest

from shop.concurrency.concurrency_limit import ConcurrencyLimit
from shop.errors import Overloaded
from shop.tests.racing import race, wait_until


def test_no_more_stand_at_the_row_than_there_are_places() -> None:
    admission = ConcurrencyLimit(name="it", max_concurrent=3, in_line=100)
    together, most = [0], [0]
    mutex = threading.Lock()
    is_full = threading.Event()

    def visit() -> None:
        with admission.place():
            with mutex:
                together[0] += 1
                most[0] = max(most[0], together[0])
                if together[0] == 3:
                    is_full.set()
            assert is_full.wait(10)
            with mutex:
                together[0] -= 1

    assert race([visit] * 40) == [None] * 40
    assert most == [3]


def test_a_full_line_and_a_long_wait_are_refused() -> None:
    admission = ConcurrencyLimit(name="it", max_concurrent=1, in_line=1, wait_seconds=1.0)
    refusals: list[str] = []
    first_is_in, may_leave = threading.Event(), threading.Event()

    def hold() -> None:
        with admission.place():
            first_is_in.set()
            assert may_leave.wait(10)

    def wait() -> None:
        try:
            with admission.place():
                pytest.fail("there was no place")
        except Overloaded as refusal:
            refusals.append(refusal.code)

    holder = threading.Thread(target=hold)
    holder.start()
    assert first_is_in.wait(10)
    waiters = [threading.Thread(target=wait) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    wait_until(lambda: len(refusals) == 2, seconds=0.9)
    for waiter in waiters:
        waiter.join()
    may_leave.set()
    holder.join()

    assert refusals == ["overloaded"] * 3
    with admission.place():
        assert not holder.is_alive()


def test_an_error_gives_the_place_back() -> None:
    admission = ConcurrencyLimit(name="it", max_concurrent=1, in_line=0, wait_seconds=0.1)

    with pytest.raises(ZeroDivisionError), admission.place():
        raise ZeroDivisionError

    with admission.place() as place:
        assert place is None
