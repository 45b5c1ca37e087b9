import time

from shop.outbound.breaker import Breaker
from shop.tests.racing import race, wait_until


def test_a_closed_circuit_allows_all_calls() -> None:
    breaker = Breaker(seconds=60)
    assert [breaker.lets_through() for _ in range(3)] == [True] * 3
    breaker.worked()
    assert breaker.lets_through()


def test_after_a_failure_calls_are_refused_and_then_one_probes() -> None:
    breaker = Breaker(seconds=0.2)
    breaker.failed()
    assert not any(race([breaker.lets_through] * 8))
    wait_until(breaker.lets_through)
    assert not any(race([breaker.lets_through] * 8))


def test_while_one_call_probes_all_others_are_refused() -> None:
    breaker = Breaker(seconds=0.05)
    breaker.failed()
    wait_until(breaker.lets_through)
    wait_until(lambda: breaker._away_until - time.monotonic() < 4.5)
    assert not any(race([breaker.lets_through] * 8))
    breaker.failed()
    wait_until(breaker.lets_through, seconds=1)


def test_a_probe_that_never_reports_its_result_is_replaced() -> None:
    breaker = Breaker(seconds=0.05, longest_try_seconds=0.1)
    breaker.failed()
    wait_until(breaker.lets_through, seconds=1)
    wait_until(breaker.lets_through, seconds=1)


def test_of_many_concurrent_calls_one_probes() -> None:
    breaker = Breaker(seconds=60)
    breaker.failed()
    breaker._away_until = 0.0
    assert race([breaker.lets_through] * 16).count(True) == 1


def test_after_a_success_all_calls_are_allowed_again() -> None:
    breaker = Breaker(seconds=60)
    breaker.failed()
    breaker.worked()
    assert all(race([breaker.lets_through] * 8))
