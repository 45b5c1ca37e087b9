"""Waiting until an instance serves, or saying with the end of a log why it does not."""

import http.client
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from scripts.stack import SetupError, children, ports, supervision
from scripts.stack.instance import Instance

MOST_SECONDS = 90
"""MariaDB may have a crash to recover from, and the machine may be slow."""
DYING_SECONDS = 5
"""How long a process may keep dying at its start before that counts as final."""


def wait_for_stores(instance: Instance, stores: list[str]) -> None:
    """Return once each of the databases accepts connections. Raises SetupError."""
    for name in stores:
        path = str(instance.redis_socket if name == "redis" else instance.mariadb_socket)
        wait_while(partial(_silence, path), instance, name)


def _silence(path: str) -> str:
    return "" if ports.answers(path) else "it accepts no connections"


def wait_for_shop(instance: Instance) -> None:
    """Return once `/readyz` answers 200. Raises SetupError with what it answered last."""
    wait_while(lambda: readiness_problem(instance.port), instance, "web")


def ask(
    port: int, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """The status and text of the answer on loopback. Raises OSError when there is none."""
    with closing(http.client.HTTPConnection(ports.HOST, port, timeout=35)) as connection:
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path} got no whole answer: {error!r}") from error


def readiness_problem(port: int) -> str:
    """What `/readyz` says against the shop at this port; nothing once it is ready."""
    try:
        status, text = ask(port, "GET", "/readyz")
    except OSError as error:
        return f"/readyz: {error}"
    return "" if status == 200 else f"/readyz answers {status} {text[:500]}"


def wait_while(
    problem: Callable[[], str],
    instance: Instance,
    name: str,
    *,
    most_seconds: float = MOST_SECONDS,
    dying_seconds: float = DYING_SECONDS,
) -> None:
    """Return once there is no problem. Raises SetupError past that time, or when the process keeps dying."""
    deadline = time.monotonic() + most_seconds
    dying_since: float | None = None
    while what := problem():
        now = time.monotonic()
        is_dying = supervision.states(instance)[name] in {"BACKOFF", "FATAL"}
        dying_since = (dying_since or now) if is_dying else None
        if now > min(deadline, (dying_since or deadline) + dying_seconds):
            log = instance.logs / f"{name}.log"
            raise SetupError(f"{name} does not come up: {what}; the end of {log}:\n{children.tail(log)}")
        time.sleep(0.1)
