"""The circuit breaker: it opens after failures, lets one probe through at a time, and closes again."""

import itertools
import threading
import time
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from shop.outbound import circuit_breaker
from shop.outbound.circuit_breaker import CircuitBreaker, CircuitOpen
from shop.tests.racing import race, wait_until


def test_after_a_failure_calls_are_refused_and_then_one_probes() -> None:
    breaker = CircuitBreaker("test", seconds=0.2)
    breaker.record_failure()
    assert not any(race([breaker.allows_call] * 8))
    wait_until(breaker.allows_call)
    assert not any(race([breaker.allows_call] * 8))


def test_a_probe_that_never_reports_its_result_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "LONGEST_PROBE_SECONDS", 0.1)
    breaker = CircuitBreaker("test", seconds=0.05)
    breaker.record_failure()
    wait_until(breaker.allows_call, seconds=1)
    wait_until(breaker.allows_call, seconds=1)


def test_of_many_concurrent_calls_one_probes() -> None:
    breaker = CircuitBreaker("test", seconds=60)
    breaker.record_failure()
    breaker._open_until = 0.0
    assert race([breaker.allows_call] * 16).count(True) == 1


def test_a_late_success_while_a_probe_is_admitted_leaves_no_circuit_open_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaker = CircuitBreaker("test", failures=2, seconds=60)
    breaker.record_failure()
    breaker.record_failure()
    breaker._open_until = 0.0
    late = threading.Thread(target=breaker.record_success)

    def monotonic() -> float:
        # The second time is read between the check of the state and its change.
        if next(readings) == 2:
            late.start()
            late.join(0.2)
        return time.monotonic()

    readings = itertools.count(1)
    monkeypatch.setattr(circuit_breaker, "time", SimpleNamespace(monotonic=monotonic))
    with pytest.raises(Failure), breaker.guard(Failure):
        late.join()
        raise Failure
    assert breaker.allows_call()


class Failure(Exception):
    """What counts as a failure in these tests."""


def fail(breaker: CircuitBreaker) -> None:
    with pytest.raises(Failure), breaker.guard(Failure):
        raise Failure("no answer")


def test_concurrent_failures_are_all_counted() -> None:
    breaker = CircuitBreaker("test", failures=16, seconds=60)
    race([lambda: fail(breaker)] * 15)
    assert not breaker.is_open
    fail(breaker)
    assert breaker.is_open
    with pytest.raises(CircuitOpen), breaker.guard(Failure):
        pytest.fail("a call was made")


def test_other_exceptions_show_that_the_system_is_available() -> None:
    breaker = CircuitBreaker("test", failures=2, seconds=60)
    for _ in range(3):
        fail(breaker)
        with pytest.raises(KeyError), breaker.guard(Failure):
            raise KeyError
    assert not breaker.is_open


def test_a_guarded_probe_is_never_replaced_and_its_failure_opens_the_circuit_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(circuit_breaker, "LONGEST_PROBE_SECONDS", 0.1)
    breaker = CircuitBreaker("test", failures=2, seconds=0.1)
    fail(breaker)
    fail(breaker)
    wait_until(lambda: not breaker.is_open)
    with pytest.raises(Failure), breaker.guard(Failure):
        threading.Event().wait(0.3)
        with pytest.raises(CircuitOpen), breaker.guard(Failure):
            pytest.fail("two probes at once")
        raise Failure
    assert breaker.is_open
    wait_until(lambda: not breaker.is_open)
    with breaker.guard(Failure):
        pass
    assert breaker.allows_call() and breaker.allows_call()


def is_shown_open(name: str) -> float | None:
    return REGISTRY.get_sample_value("firstcome_circuit_open", {"circuit": name})


def test_it_is_shown_as_open_from_the_failures_in_a_row_until_a_success() -> None:
    breaker = CircuitBreaker("shown", failures=2, seconds=0.01)
    assert is_shown_open("shown") == 0
    breaker.record_failure()
    assert is_shown_open("shown") == 0
    breaker.record_failure()
    assert is_shown_open("shown") == 1
    wait_until(breaker.allows_call)
    assert is_shown_open("shown") == 1
    breaker.record_success()
    assert is_shown_open("shown") == 0
