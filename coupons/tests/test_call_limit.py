"""Permits for threads that call a partner."""

import pytest
from django.conf import LazySettings

from coupons.partners import call_limit
from shop.concurrency import thread_pool


@pytest.mark.parametrize("web_threads", [4, 8, 16, 64])
def test_partners_leave_half_of_the_threads_that_run_calls(web_threads: int, settings: LazySettings) -> None:
    settings.WEB_THREADS = web_threads
    call_limit.reset()
    assert 1 <= call_limit._permits()._initial_value <= thread_pool.split_threads(web_threads).calling / 2
    call_limit.reset()
