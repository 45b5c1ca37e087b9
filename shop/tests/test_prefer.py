"""`Prefer: wait=N` is parsed as in RFC 7240, and an invalid header is ignored."""

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
def test_an_invalid_wait_is_ignored(prefer: str | None) -> None:
    assert wait_seconds(prefer) is None


def test_a_wait_of_zero_is_valid_and_the_first_wait_counts() -> None:
    assert wait_seconds("wait=0, wait=5") == 0


@pytest.mark.parametrize("seconds", ["30", "31", "60", "100", "9" * 5_000])
def test_a_wait_is_at_most_30_seconds(seconds: str) -> None:
    assert wait_seconds(f"wait={seconds}") == 30


@pytest.mark.parametrize("part", ["wait ", ",", '"', "a;", 'a="', "\\", "wait=0", " "])
def test_a_long_invalid_header_is_parsed_quickly(part: str) -> None:
    began = time.perf_counter()
    wait_seconds(part * 10_000)
    assert time.perf_counter() - began < 0.5
