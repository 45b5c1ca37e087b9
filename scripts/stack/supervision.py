"""supervisor, which starts the processes of an instance and again what dies; waiting until they serve."""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from scripts.stack import (
    Environment,
    Lines,
    Settings,
    SetupError,
    Words,
    children,
    instance as instances,
    places,
    ports,
    waiting,
)
from scripts.stack.instance import Instance
from scripts.stack.processes import OUTSIDE, SHOP

# How long a process may take to end by itself before it is killed: every one survives a crash.
STOP_SECONDS = 5
_DAEMON = """\
[supervisord]
nodaemon=true
silent=true
logfile=%(here)s/log/supervisor.log
pidfile=%(here)s/run/supervisor.pid
[unix_http_server]
file={socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
_PROGRAM = """\
[program:{0.name}]
command={python} -m {0.module} {0.name}
autostart={0.is_started_at_once}
autorestart=true
startretries=1000
stopsignal={0.stop_signal}
stopwaitsecs={0.stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile=%(here)s/log/{0.name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A process under supervisor: `python -m MODULE NAME`, started with supervisor or by a call."""

    name: str
    module: str = "scripts.stack.processes"
    is_started_at_once: bool
    stop_signal: str = "TERM"
    stop_seconds: int = STOP_SECONDS


def supervisor(
    instance: Instance, environment: Environment, stores: Words
) -> contextlib.AbstractContextManager[children.Child]:
    """supervisor with the stores and simulators starting; on leaving, everything is stopped, stores last."""
    groups = {
        "stores": [Program(name=name, is_started_at_once=True) for name in stores],
        "shop": [Program(name=name, is_started_at_once=name not in SHOP) for name in (*OUTSIDE, *SHOP)],
    }
    return supervised(instance, environment, groups, stop_seconds=2 * STOP_SECONDS + 3)


@contextlib.contextmanager
def supervised(
    instance: Instance,
    environment: Environment,
    groups: Mapping[str, Sequence[Program]],
    *,
    stop_seconds: float,
) -> Iterator[children.Child]:
    """supervisor with these groups, which start in this order; on leaving, they stop in the reverse one."""
    socket = instance.supervisor_socket
    log = instance.logs / "supervisor.log"
    # Relative, because supervisor splits commands at spaces and the project may lie in "My Projects".
    python = os.path.relpath(sys.executable, places.PROJECT)
    sections = [_DAEMON.format(socket=socket)]
    for priority, (group, programs) in enumerate(groups.items()):
        names = ",".join(program.name for program in programs)
        if names:
            sections += [f"[group:{group}]\nprograms={names}\npriority={priority}\n"]
        for program in programs:
            sections.append(_PROGRAM.format(program, python=python))
    path = instance.home / "supervisor.conf"
    own = {**environment, children.MARK: str(instance.home)}
    places.write_whole(path, "".join(sections), mode=0o600)
    # On SIGTERM it stops its processes in order, so it gets one even if this process is killed.
    supervising = children.running(
        [sys.executable, "-m", "supervisor.supervisord", "-c", path],
        name="supervisor",
        log=log,
        is_ready=socket,
        stop_seconds=stop_seconds,
        environment=own,
        when_parent_dies=signal.SIGTERM,
    )
    with supervising as daemon:
        try:
            yield daemon
        finally:
            instances.begin_to_stop(instance)


def start(instance: Instance, names: Words) -> None:
    """Start these processes; returns once their ids are written."""
    for name in names:
        calls(instance).startProcess(_full_name(name), False)
    late = f"supervisor started no {' and no '.join(names)}; see {instance.logs / 'supervisor.log'}"
    is_written = lambda: all((instance.run / f"{name}.pid").exists() for name in names)  # noqa: E731
    waiting.until(is_written, late, within_seconds=30)


def stop(instance: Instance, name: str) -> None:
    """Stop the process, and leave it stopped until it is started again."""
    calls(instance).stopProcess(_full_name(name))


def _full_name(name: str) -> str:
    if name in (*OUTSIDE, *SHOP):
        return f"shop:{name}"
    return f"stores:{name}"


def calls(instance: Instance) -> Any:
    """supervisor's own calls, which raise `xmlrpc.client.Fault` and `OSError`."""
    transport = SupervisorTransport(None, None, f"unix://{instance.supervisor_socket}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def states(instance: Instance) -> dict[str, str]:
    """The state of each process in supervisor's words: `RUNNING`, `BACKOFF` when it died right away, …"""
    return {process["name"]: process["statename"] for process in calls(instance).getAllProcessInfo()}


def not_running(instance: Instance) -> Lines:
    """Each process that does not run, for supervisor restarts what dies."""
    return [f"{name} is {state}" for name, state in states(instance).items() if state != "RUNNING"]


def environment(instance: Instance) -> Settings:
    """What every process of the running instance has in its environment, which is supervisor's own."""
    pid = (instance.run / "supervisor.pid").read_text().strip()
    entries = Path("/proc", pid, "environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def clear_leftovers(instance: Instance, *, within_seconds: float = 8) -> None:
    """End every process that an earlier run left. Raises SetupError."""

    def left_after(number: int) -> set[int]:
        # Looked up again each time: one may have started another before its signal came.
        left = children.of_state(instance.home)
        children.kill(left, number)
        return left

    left_after(signal.SIGTERM)
    waiting.left(lambda: left_after(0), within_seconds=within_seconds)
    left = waiting.left(lambda: left_after(signal.SIGKILL), within_seconds=STOP_SECONDS)
    if left:
        raise SetupError(f"processes of an earlier run do not end: {sorted(left)}")
    for path in [*instance.run.glob("*.pid"), *instance.run.glob("*.sock*")]:
        path.unlink(missing_ok=True)


def wait_for_stores(instance: Instance, stores: Words) -> None:
    """Return once each of the databases accepts connections. Raises SetupError."""

    def problem() -> str:
        if ports.answers(path):
            return ""
        return "it accepts no connections"

    for name in stores:
        path = instance.mariadb_socket
        if name == "redis":
            path = instance.redis_socket
        wait_while(problem, instance, name)


def wait_for_shop(instance: Instance) -> None:
    """Return once `/readyz` answers 200. Raises SetupError with what it answered last."""
    wait_while(lambda: readiness_problem(instance.port), instance, "web")


def readiness_problem(port: int) -> str:
    """What `/readyz` says against the shop at this port; nothing once it is ready."""
    try:
        status, text = ports.ask(port, "GET", "/readyz")
    except OSError as error:
        return f"/readyz: {error}"
    if status == 200:
        return ""
    return f"/readyz answers {status} {text[:500]}"


def wait_while(
    problem: Callable[[], str],
    instance: Instance,
    name: str,
    *,
    most_seconds: float = 90,  # MariaDB may have a crash to recover from, and the machine may be slow.
    dying_seconds: float = 5,
) -> None:
    """Return once there is no problem. Raises SetupError past that time, or when the process keeps dying."""
    late = time.monotonic() + most_seconds
    dies_at = math.inf
    while what := problem():
        is_dying = states(instance)[name] in {"BACKOFF", "FATAL"}
        dies_at = min(dies_at, time.monotonic() + dying_seconds) if is_dying else math.inf
        if time.monotonic() > min(late, dies_at):
            log = instance.logs / f"{name}.log"
            raise SetupError(f"{name} does not come up: {what}; the end of {log}:\n{children.tail(log)}")
        time.sleep(0.1)
