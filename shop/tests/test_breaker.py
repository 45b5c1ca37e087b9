import time

from shop.outbound.breaker import Breaker
from shop.tests.racing import race, wait_until


def test_it_lets_everybody_through_while_all_is_well() -> None:
    breaker = Breaker(seconds=60)
    assert [breaker.lets_through() for _ in range(3)] == [True] * 3
    breaker.worked()
    assert breaker.lets_through()


def test_after_a_failure_nobody_is_let_through_and_then_one_finds_out() -> None:
    breaker = Breaker(seconds=0.2)
    breaker.failed()
    assert not any(race([breaker.lets_through] * 8))
    wait_until(breaker.lets_through)
    assert not any(race([breaker.lets_through] * 8))


def test_while_one_finds_out_however_long_nobody_else_is_let_through() -> None:
    breaker = Breaker(seconds=0.05)
    breaker.failed()
    wait_until(breaker.lets_through)
    wait_until(lambda: breaker._away_until - time.monotonic() < 4.5)
    assert not any(race([breaker.lets_through] * 8))
    breaker.failed()
    wait_until(breaker.lets_through, seconds=1)


def test_who_never_tells_what_he_found_out_is_replaced() -> None:
    breaker = Breaker(seconds=0.05, longest_try_seconds=0.1)
    breaker.failed()
    wait_until(breaker.lets_through, seconds=1)
    wait_until(breaker.lets_through, seconds=1)


def test_of_many_at_once_one_finds_out() -> None:
    breaker = Breaker(seconds=60)
    breaker.failed()
    breaker._away_until = 0.0
    assert race([breaker.lets_through] * 16).count(True) == 1


def test_once_it_works_again_everybody_is_let_through() -> None:
    breaker = Breaker(seconds=60)
    breaker.failed()
    breaker.worked()
    assert all(race([breaker.lets_through] * 8))
