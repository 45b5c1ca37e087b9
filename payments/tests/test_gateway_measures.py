"""How long calls of the gateway take, by what came of them."""

from uuid import uuid4

import pytest

from payments.gateways import gateway
from payments.gateways.contract import GatewayResult
from payments.tests.own_gateway import gateway_process, own_gateway
from shop.tests.samples import Increases

__all__ = ["gateway_process", "own_gateway"]


@pytest.fixture
def increases() -> Increases:
    return Increases("firstcome_gateway_call_seconds_count", "firstcome_gateway_call_seconds_sum")


def calls(increases: Increases) -> dict[tuple[str, ...], float]:
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
