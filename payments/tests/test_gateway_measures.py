"""How long calls of the gateway take, by what came of them."""

from uuid import uuid4

import pytest
from django.conf import LazySettings

from payments.gateways import circuit, gateway
from payments.gateways.contract import GatewayResult
from payments.tests.own_gateway import gateway_process, own_gateway
from scripts.tests.simulator import Simulator
from shop.tests.samples import Increases

__all__ = ["gateway_process", "own_gateway"]
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def increases() -> Increases:
    return Increases("firstcome_gateway_call_seconds_count", "firstcome_gateway_call_seconds_sum")


def calls(increases: Increases) -> dict[tuple[str, ...], float]:
    """The number of calls by gateway, call and outcome."""
    grown = {name: number for name, number in increases().items() if "_count" in name}
    return {(name.split('"')[3], name.split('"')[1], name.split('"')[5]): n for name, n in grown.items()}


def charge(token: str, key: str) -> GatewayResult:
    return gateway().charge(key=key, token=token, amount=700, currency="KRW", order_id=uuid4())


@pytest.mark.usefixtures("own_gateway")
def test_each_call_is_measured_by_its_result(increases: Increases) -> None:
    charged = charge("tok_ok", "one")
    charge("tok_declined", "two")
    gateway().find(key="nothing")
    gateway().cancel(key="three")
    gateway().refund(key="refund", charge_reference=charged.reference, amount=700)

    assert calls(increases) == {
        ("simulator", "charge", "succeeded"): 1,
        ("simulator", "charge", "declined"): 1,
        ("simulator", "find", "absent"): 1,
        ("simulator", "cancel", "cancelled"): 1,
        ("simulator", "refund", "succeeded"): 1,
    }


def test_the_time_is_that_until_the_result(
    own_gateway: Simulator, increases: Increases, settings: LazySettings
) -> None:
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3
    assert charge("tok_slow", "one").status == "unknown"

    labels = '{call="charge",gateway="simulator",outcome="unknown"}'
    grown = increases()
    assert grown[f"firstcome_gateway_call_seconds_count{labels}"] == 1
    assert 0.3 <= grown[f"firstcome_gateway_call_seconds_sum{labels}"] < 2


def test_a_call_that_the_circuit_prevents_is_unknown(increases: Increases, settings: LazySettings) -> None:
    settings.GATEWAY_URL = NOWHERE
    for number in range(circuit.FAILURES_TO_OPEN + 1):
        assert charge("tok_ok", str(number)).status == "unknown"
    assert calls(increases) == {("simulator", "charge", "unknown"): circuit.FAILURES_TO_OPEN + 1}
