"""The circuit breaker before a gateway that is down or frozen: a real process, stopped by its id."""

import signal
import time
from collections.abc import Callable

import pytest

from foundation.tests.racing import race, race_each, wait_until
from payments.gateways import calls, gateway
from payments.gateways.contract import NOT_CALLED, GatewayResult
from scripts.stack import children, ports
from scripts.tests.simulator import running

pytestmark = pytest.mark.boots("a gateway simulator", in_first_circle=True)

AWAY = "the gateway is not reachable; it is called again soon"
PATIENCE = 0.3


@pytest.fixture
def mortal_gateway(tmp_path, settings):
    """A gateway process that the test may freeze or kill."""
    settings.GATEWAY_TIMEOUT_SECONDS = PATIENCE
    with running("gateway", tmp_path, "--latency-ms", "0") as simulator:
        settings.GATEWAY_URL = f"http://{ports.HOST}:{simulator.port}"
        yield simulator
        simulator.child.send_signal(signal.SIGCONT)


def charge(key: str, token="tok_ok") -> GatewayResult:
    return gateway().charge(key=key, token=token, amount=700, currency="KRW", order_id=None)


def took(call: Callable[[], GatewayResult]) -> float:
    started_at = time.monotonic()
    call()
    return time.monotonic() - started_at


def open_circuit():
    """Call until the breaker opens."""
    for number in range(calls.FAILURES_TO_OPEN):
        assert charge(f"before {number}").failure_detail != AWAY
    assert charge("one too many").failure_detail == AWAY


def test_a_frozen_gateway_costs_its_time_out_ten_times_and_then_nothing(mortal_gateway):
    mortal_gateway.child.send_signal(signal.SIGSTOP)

    open_circuit()

    assert sum(took(lambda: charge("more")) for _ in range(20)) < PATIENCE
    assert charge("more") == GatewayResult(status="unknown", failure_code=NOT_CALLED, failure_detail=AWAY)
    assert gateway().find(key="more").failure_detail == AWAY


def test_a_gateway_that_died_is_used_again_when_another_listens_there(mortal_gateway, tmp_path):
    children.stop(mortal_gateway.child)
    open_circuit()

    with running("gateway", tmp_path, "--latency-ms", "0", port=mortal_gateway.port):
        wait_until(lambda: charge("after").status == "succeeded")
        assert charge("at once").status == "succeeded"


def test_while_it_stays_away_one_caller_at_a_time_tries(mortal_gateway):
    mortal_gateway.child.send_signal(signal.SIGSTOP)
    open_circuit()
    wait_until(lambda: not calls.breaker("simulator").is_open)

    details = [one.failure_detail for one in race([lambda: charge("again")] * 20)]

    assert sorted(details) == ["no reply in time"] + [AWAY] * 19


def test_errors_are_answers_and_open_nothing(mortal_gateway):
    for number in range(3 * calls.FAILURES_TO_OPEN):
        assert charge(f"error {number}", "tok_error").failure_detail == "HTTP 500"

    assert charge("good").status == "succeeded"


def test_silences_with_an_answer_between_them_do_not_add_up(mortal_gateway, settings):
    """A card that makes the gateway time out is looked up by key between two attempts."""
    settings.GATEWAY_TIMEOUT_SECONDS = 0.1
    for number in range(2 * calls.FAILURES_TO_OPEN):
        assert charge(f"lost {number}", "tok_timeout_lost").failure_detail == "no reply in time"
        settings.GATEWAY_TIMEOUT_SECONDS = PATIENCE
        assert gateway().find(key=f"lost {number}").status == "absent"
        settings.GATEWAY_TIMEOUT_SECONDS = 0.1


def test_calls_under_way_do_not_wait_for_one_another(mortal_gateway, settings):
    """A breaker that holds its lock while it calls, as pybreaker's does, would charge one card at a time."""
    settings.GATEWAY_TIMEOUT_SECONDS = 10
    started_at = time.monotonic()

    verdicts = race_each(lambda number: charge(f"slow {number}", "tok_slow"), range(8))

    assert {verdict.status for verdict in verdicts} == {"succeeded"}
    assert time.monotonic() - started_at < 8, "eight charges of two seconds went one after the other"
