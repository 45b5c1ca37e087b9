"""`docker compose stop` of each service, while a client waits for its payment."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from lab.containers.project import Project
from lab.containers.report import require
from lab.containers.selling import ShopUnderTest
from scripts.stack import readiness, waiting

SLOW_MS = 2600
"""A call of the gateway takes so long, just less than the shop waits: payments are under way for longer."""
WAITERS, WAIT_SECONDS, PLACED_SECONDS = 8, 20, 30
STOP_PATIENCE_SECONDS = 180


def ends_in_time(project: Project, service: str) -> str:
    """The service ends by itself within its `stop_grace_period`, with exit code 0."""
    grace, started = project.grace_seconds(service), time.monotonic()
    project.compose("stop", service, within_seconds=STOP_PATIENCE_SECONDS)
    seconds = time.monotonic() - started
    state = project.inspect(service, "{{.State.Status}} {{.State.ExitCode}}")
    require(state == "exited 0", f"it is {state} after {seconds:.1f} s")
    require(seconds < grace, f"it took {seconds:.1f} s of its {grace} s")
    return f"{seconds:.1f} s of {grace} s"


def ends_while_clients_wait(tested: ShopUnderTest, service: str) -> str:
    """The same while clients wait by `Prefer: wait`: each is answered, and its order is paid in the end."""
    project = tested.project
    before = len(tested.shop.orders(tested.customer))
    orders = [tested.order(wait=WAIT_SECONDS) for _ in range(WAITERS)]
    _set_latency(project, "POST", SLOW_MS)
    try:
        with ThreadPoolExecutor(WAITERS) as threads:
            sending = [threads.submit(order.send_once) for order in orders]
            _wait_until_placed(tested, before + WAITERS)
            took = ends_in_time(project, service)
            answers = [one.result() for one in sending]
    finally:
        _set_latency(project, "DELETE")
    kinds = Counter(answer.word if answer else "no answer" for answer in answers)
    require(kinds.keys() <= {"201", "202"}, f"waiting clients were answered {dict(kinds)}")
    project.compose("up", "--detach")
    project.wait_until_healthy()
    for order in orders:
        order.until_paid()
    answered = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
    return f"{took}; waiting clients were answered {answered}, and all {WAITERS} orders are paid"


def _wait_until_placed(tested: ShopUnderTest, count: int) -> None:
    """Return once the customer has so many orders. Raises SetupError."""
    waiting.until(
        lambda: len(tested.shop.orders(tested.customer)) >= count,
        f"the customer has less than {count} orders",
        within_seconds=PLACED_SECONDS,
    )


def _set_latency(project: Project, method: str, milliseconds: int = 0) -> None:
    body = json.dumps({"ms": milliseconds}) if method == "POST" else None
    headers = {"Content-Type": "application/json"}
    status, text = readiness.ask(project.instance.gateway_port, method, "/latency", body, headers)
    require(status == 200, f"the gateway answered {status}: {text}")
