"""`Prefer: wait=N` is read as RFC 7240 says, and nonsense in its place is nothing."""

import time

import pytest

from shop.http.prefer import wait_seconds


@pytest.mark.parametrize(
    "prefer",
    [
        "wait=10",
        "WAIT=10",
        " wait = 10 ",
        'wait="10"',
        "wait=0010",
        "wait=10; foo=bar",
        "wait=10, wait=20",
        "respond-async, wait=10",
        ",, wait=10,",
        "return=minimal; foo,wait=10",
        'foo="a, wait=5"; bar, wait=10',
        'foo="\\", wait=5", wait=10',
        "wait=soon, wait=10",
    ],
)
def test_a_wait_is_found_among_other_preferences(prefer: str) -> None:
    assert wait_seconds(prefer) == 10


@pytest.mark.parametrize(
    "prefer",
    [
        None,
        "",
        "wait",
        "wait=",
        "wait=soon",
        "wait=-5",
        "wait=1.5",
        "wait=1e1",
        "wait==5",
        "wait=5 5",
        "await=5",
        "x-wait=5",
        "foo;wait=5",
        'foo="wait=5"',
        'foo="a, wait=5, b"',
        'foo="a, wait=5',
        'wait=" 5"',
        'wait="5',
        "wait=\u0665",
        ",;=,",
    ],
)
def test_what_is_no_wait_is_ignored(prefer: str | None) -> None:
    assert wait_seconds(prefer) is None


def test_a_wait_of_nothing_is_a_wait_and_the_first_one_counts() -> None:
    assert wait_seconds("wait=0, wait=5") == 0


@pytest.mark.parametrize("seconds", ["30", "31", "60", "100", "9" * 5_000])
def test_nobody_waits_longer_than_30_seconds(seconds: str) -> None:
    assert wait_seconds(f"wait={seconds}") == 30


@pytest.mark.parametrize("part", ["wait ", ",", '"', "a;", 'a="', "\\", "wait=0", " "])
def test_a_header_of_nonsense_is_read_in_no_time(part: str) -> None:
    began = time.perf_counter()
    wait_seconds(part * 10_000)
    assert time.perf_counter() - began < 0.5
