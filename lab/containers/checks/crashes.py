"""kill -9 of each service under load."""

import time

from lab.containers.project import HEALTHY, Project
from lab.containers.selling import ShopUnderTest
from scripts.stack import waiting

RESTART_SECONDS = 60


def comes_back(tested: ShopUnderTest, service: str) -> str:
    """The service is killed, is started again by the engine, all are healthy again, and an order is paid."""
    project, started = tested.project, time.monotonic()
    old = _first_process(project, service)
    project.engine.kill_process(old)
    waiting.until(
        lambda: _first_process(project, service) not in (0, old),
        f"it was not started again in {RESTART_SECONDS} s",
        within_seconds=RESTART_SECONDS,
    )
    project.wait_until_healthy(HEALTHY)
    return f"healthy after {time.monotonic() - started:.1f} s, {tested.require_paid_order()}"


def _first_process(project: Project, service: str) -> int:
    """The id of the container's first process; 0 for none."""
    return int(project.inspect(service, "{{.State.Pid}}"))
