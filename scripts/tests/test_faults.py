"""The faults of `make chaos` and `make soak`, made to a gateway."""

import time
from pathlib import Path

import pytest

from scripts.chaos import faults
from scripts.chaos.calls import Observations
from scripts.chaos.faults import Fault, FaultSeries
from scripts.stack import ports
from scripts.stack.instance import Instance
from scripts.tests.simulator import running


@pytest.mark.boots("a simulator")
def test_every_call_to_a_slow_gateway_takes_2600_ms_and_then_no_longer(tmp_path: Path) -> None:
    with running("gateway", tmp_path, "--latency-ms", "0") as gateway:
        instance = Instance(home=tmp_path, port=gateway.port - 1, database="sqlite")
        with faults.lasting(Fault("slow", "gateway", 1), instance):
            began = time.monotonic()
            gateway.get("/charges", key="absent")
            assert time.monotonic() - began >= 2.6
        assert gateway.get("/latency")[1]["ms"] is None


def test_a_fault_that_can_not_be_made_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "PATIENCE_SECONDS", 0.3)
    seen = Observations()
    series = FaultSeries("slow gateway", lambda chance: Fault("slow", "gateway", 20), (0.0, 0.0))
    nothing = Instance(home=tmp_path, port=ports.free(2), database="sqlite")
    ends_at = time.monotonic() + 0.2
    assert faults.inject_until(ends_at, series, instance=nothing, seed="1", seen=seen) == 1
    [failed, not_ready] = seen.findings
    assert failed.startswith("slow gateway for 0.2 s: the gateway took no POST /latency")
    assert not_ready.startswith("not ready")
