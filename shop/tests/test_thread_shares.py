"""The share of a process's threads that clients can occupy."""

import pytest
from django.conf import settings

from shop.concurrency import batching, event_loop, thread_pool


@pytest.mark.parametrize("count", [2, 3, 4, 8, 16, 64, 200])
def test_batches_and_calls_share_all_threads_and_each_has_one(count: int) -> None:
    shares = thread_pool.split_threads(count)
    assert shares.leading + shares.calling == count
    assert 1 <= shares.leading <= max(2, count // 4)
    assert shares.calling >= 1


def test_these_bounds_are_in_force() -> None:
    in_force = batching.LEADER_POOL._max_threads, event_loop.CALL_POOL._max_threads
    assert in_force == thread_pool.split_threads(settings.WEB_THREADS)
