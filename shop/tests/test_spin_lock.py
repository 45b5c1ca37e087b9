"""The lock that is acquired by polling: one holder at a time, for as long as its lease lasts."""

import threading

import pytest
from django.db import transaction
from prometheus_client import REGISTRY

from shop.errors import Rejected
from shop.redis import locks, redis_client
from shop.tests.racing import race

NAME = "firstcome:{test}:spin-lock"


def counted(metric: str) -> float:
    return REGISTRY.get_sample_value(f"firstcome_lock_{metric}", {"lock": "spin"}) or 0.0


@pytest.mark.parametrize(("is_locked", "most_at_once"), [(True, 1), (False, 10)])
def test_one_thread_at_a_time_holds_it_and_all_run_at_once_without_it(
    is_locked: bool, most_at_once: int
) -> None:
    inside, most = [0], [0]
    all_are_in = threading.Event()

    def visit() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        if inside[0] == 10:
            all_are_in.set()
        all_are_in.wait(0.02 if is_locked else 10)
        inside[0] -= 1

    def visit_locked() -> None:
        with locks.spinning(NAME):
            visit()

    assert race([visit_locked if is_locked else visit] * 10) == [None] * 10
    assert most == [most_at_once]


def test_a_wait_that_times_out_is_refused_and_counted() -> None:
    before = counted("timeouts_total")
    with locks.spinning(NAME), pytest.raises(Rejected) as refusal, locks.spinning(NAME, wait_seconds=0.3):
        pytest.fail("two threads held it")
    assert (refusal.value.code, refusal.value.retry_after) == ("lock_not_acquired", 1)
    assert counted("timeouts_total") == before + 1


def test_releasing_a_lock_after_its_lease_expired_does_not_free_the_next_holders() -> None:
    before = counted("leases_lost_total")
    with locks.spinning(NAME, lease_milliseconds=50):
        second = locks.spinning(NAME)
        second.__enter__()
    assert counted("leases_lost_total") == before + 1
    with pytest.raises(Rejected), locks.spinning(NAME, wait_seconds=0.3):
        pytest.fail("the first holder's release freed the second holder's lock")
    second.__exit__(None, None, None)
    with locks.spinning(NAME, wait_seconds=0.0):
        pass


def test_the_lock_ends_with_its_lease() -> None:
    with locks.spinning(NAME, lease_milliseconds=5_000):
        assert 0 < redis_client.client().pttl(NAME) <= 5_000
    assert not redis_client.client().exists(NAME)


@pytest.mark.django_db(transaction=True)
def test_it_is_not_waited_for_inside_a_transaction() -> None:
    with transaction.atomic(), pytest.raises(transaction.TransactionManagementError), locks.spinning(NAME):
        pytest.fail("a transaction was kept open meanwhile")
