"""Places for threads that wait for a partner."""

import pytest
from django.conf import LazySettings

from coupons.partners import patience
from shop.concurrency import thread_budget


@pytest.mark.parametrize("web_threads", [4, 8, 16, 64])
def test_partners_leave_half_of_the_threads_that_run_calls(web_threads: int, settings: LazySettings) -> None:
    settings.WEB_THREADS = web_threads
    patience.reset()
    assert 1 <= patience._permits()._initial_value <= thread_budget.split_threads(web_threads).calling / 2
    patience.reset()


def test_a_place_goes_back_to_where_it_was_taken() -> None:
    """As for the slower of two threads that were the first to come: the places that are kept are others."""
    with patience.call_permit():
        taken_from = patience._permits()
        patience.reset()

    assert patience._permits() is not taken_from
    assert taken_from._value == patience._permits()._value
