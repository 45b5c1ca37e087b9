"""The faults of `make chaos` and `make soak`, made to a gateway, a worker and a broker."""

import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from subprocess import run

import pytest

from scripts.chaos import clock_jump, faults
from scripts.chaos.calls import Observations
from scripts.chaos.faults import Fault, FaultSeries
from scripts.stack import children, environment, places, ports, processes
from scripts.stack.instance import Instance
from scripts.stack.programs import faketime
from scripts.tests.simulator import Simulator, running, wait_until
from shop.tests.own_rabbitmq import OwnRabbitMQ, rabbitmq_process

__all__ = ["rabbitmq_process"]
PAUSES = (2.0, 8.0)


def drawn(series: FaultSeries, *, seed: str, count: int = 200) -> list[Fault]:
    chance = random.Random(seed)
    return [series.choose(chance) for _ in range(count)]


def instance_of(gateway: Simulator, home: Path) -> Instance:
    return Instance(home=home, port=gateway.port - 1, database="sqlite")


@pytest.mark.boots("a simulator, a worker with a Redis, or RabbitMQ")
def test_every_call_to_a_slow_gateway_takes_2600_ms_and_then_no_longer(tmp_path: Path) -> None:
    with running("gateway", tmp_path, "--latency-ms", "0") as gateway:
        with faults.lasting(Fault("slow", "gateway", 1), instance_of(gateway, tmp_path)):
            began = time.monotonic()
            gateway.get("/charges", key="absent")
            assert time.monotonic() - began >= 2.6
        assert gateway.get("/latency")[1]["ms"] is None


@pytest.mark.boots("a simulator, a worker with a Redis, or RabbitMQ")
def test_a_gateway_that_dies_while_it_is_slow_is_not_slow_any_more(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with running("gateway", tmp_path, "--latency-ms", "0") as gateway:
            fault = faults.lasting(Fault("slow", "gateway", 1), instance_of(gateway, tmp_path))
            fault.__enter__()
        again = stack.enter_context(running("gateway", tmp_path, "--latency-ms", "0", port=gateway.port))
        assert again.get("/latency")[1]["ms"] is None
        fault.__exit__(None, None, None)
        assert again.get("/latency")[1]["ms"] is None


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


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Instance]:
    """As much of a stack as a worker needs: a Redis, and a process with the environment of supervisor's."""
    instance = Instance(home=tmp_path, port=ports.free(4), database="sqlite")
    for folder in (instance.run, instance.logs, instance.data):
        folder.mkdir()
    settings = environment.compose(instance, {})
    sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
    redis = processes.command("redis", instance, settings)
    with ExitStack() as stop:
        for name, command in (("redis", redis), ("supervisor", sleeper)):
            log = instance.logs / f"{name}.log"
            child = children.start(command, log=log, environment={**settings, "PATH": "/usr/bin:/bin"})
            stop.callback(children.stop, child)
        (instance.run / "supervisor.pid").write_text(f"{child.pid}\n")
        wait_until(lambda: ports.answers(str(instance.redis_socket)))
        yield instance


@pytest.mark.boots("a simulator, a worker with a Redis, or RabbitMQ")
def test_a_second_worker_starts_with_the_right_time_and_then_is_five_minutes_ahead(stack: Instance) -> None:
    log = stack.logs / "clock-jump-worker.log"
    began = datetime.now().astimezone()

    def logged() -> list[datetime]:
        lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
        return [datetime.fromisoformat(json.loads(line)["timestamp"]) for line in lines]

    def jumped() -> bool:
        return any(later - sooner > timedelta(seconds=200) for sooner, later in pairwise(logged()))

    with faults.lasting(Fault("jump", "the clock of a second worker", 1), stack):
        assert logged()[0] - began < timedelta(seconds=60)
        call = [sys.executable, "-m", "celery", "-A", "shop", "call", "orders.advance", "--args", '["x"]']
        settings = environment.compose(stack, {"PATH": "/usr/bin:/bin"})
        time.sleep(faketime.REFRESH_SECONDS)

        def jumps_at_a_task() -> bool:
            # A task that was received before the jump shows nothing: another one does.
            run(call, cwd=places.PROJECT, env=settings, check=True, capture_output=True)
            return jumped()

        wait_until(jumps_at_a_task, within_seconds=90)
    assert logged()[-1] - began < timedelta(seconds=clock_jump.JUMP_SECONDS + 120)


@pytest.mark.boots("a simulator, a worker with a Redis, or RabbitMQ")
def test_a_broker_answers_again_after_each_of_its_faults(rabbitmq_process: OwnRabbitMQ) -> None:
    series = faults.broker_series(rabbitmq_process, pauses=PAUSES)
    assert {fault.sort for fault in drawn(series, seed="1")} == {"kill", "freeze", "down"}
    assert {fault.is_outage for fault in drawn(series, seed="1")} == {False}
    rabbitmq_process.make_queue()
    for sort in ("freeze", "kill", "down"):
        assert series.make
        fault = threading.Thread(target=series.make, args=(Fault(sort, "rabbitmq", 0.2),))
        fault.start()
        fault.join()
        time.sleep(0.5)
        assert rabbitmq_process.messages() == 0, sort
