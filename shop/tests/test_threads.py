"""What clients can hold of a process's threads."""

import pytest
from django.conf import settings

from shop import group_commit, hashing, slow_bodies, threads, wakeups


@pytest.mark.parametrize("count", [2, 3, 4, 16, 64])
def test_leaders_and_calls_share_all_threads(count: int) -> None:
    shares = threads.shares(count)
    assert shares.leading + shares.calling == count
    assert shares.leading == max(min(2, count - 1), count // 4)


@pytest.mark.parametrize("count", [4, 16, 64])
def test_bodies_waits_and_hashes_together_leave_an_eighth_of_the_threads(count: int) -> None:
    shares = threads.shares(count)
    assert shares.reading + shares.sleeping + shares.hashing <= count - max(1, count // 8)
    assert 1 <= shares.reading <= max(1, count // 4)
    assert 0 <= shares.sleeping <= count // 2


def test_these_bounds_are_in_force() -> None:
    hashed = hashing.AT_ONCE + hashing.IN_LINE
    in_force = slow_bodies.MOST, wakeups.sleeping._initial_value, hashed
    shares = threads.shares(settings.WEB_THREADS)
    assert in_force == (shares.reading, shares.sleeping, shares.hashing)
    assert group_commit.LEADERS._max_threads == shares.leading
    assert sum(in_force) < settings.WEB_THREADS
    assert hashing.IN_LINE >= 2
