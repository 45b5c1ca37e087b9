"""supervisor, which starts the processes of an instance and starts again what dies."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from scripts.stack import SetupError, children, places, process_identity, waiting
from scripts.stack.instance import Instance
from scripts.stack.processes import OUTSIDE, SHOP

STOP_SECONDS = 5
"""How long a process may take to end by itself before it is killed: every one survives a crash."""
START_SECONDS = 30
_DAEMON = """\
[supervisord]
nodaemon=true
silent=true
logfile=%(here)s/log/supervisor.log
logfile_maxbytes=10MB
logfile_backups=1
pidfile=%(here)s/run/supervisor.pid
{user}
[unix_http_server]
file={socket}
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
_PROGRAM = """\
[program:{0.name}]
command=%(ENV_FIRSTCOME_PYTHON)s -m {0.module} {0.name}
autostart={0.is_started_at_once}
autorestart=true
startsecs=1
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


def configuration_of(groups: Mapping[str, Sequence[Program]], *, socket: str, is_root: bool) -> str:
    """The configuration file of these groups, which start in this order and stop in the reverse one."""
    sections = [_DAEMON.format(socket=socket, user="user=root" if is_root else "")]
    for priority, (group, programs) in enumerate(groups.items()):
        names = ",".join(program.name for program in programs)
        sections += [f"[group:{group}]\nprograms={names}\npriority={priority}\n"] if names else []
        sections += [_PROGRAM.format(program) for program in programs]
    return "".join(sections)


def supervisor(
    instance: Instance, environment: Mapping[str, str], stores: Sequence[str]
) -> contextlib.AbstractContextManager[children.Child]:
    """supervisor with the stores and simulators starting; on leaving, everything is stopped, stores last."""
    names = {"stores": stores, "shop": [*OUTSIDE, *SHOP]}
    groups = {
        group: [Program(name=name, is_started_at_once=name not in SHOP) for name in of_group]
        for group, of_group in names.items()
    }
    text = configuration_of(groups, socket=str(instance.supervisor_socket), is_root=os.getuid() == 0)
    return supervised(instance, environment, text, stop_seconds=2 * STOP_SECONDS + 3)


@contextlib.contextmanager
def supervised(
    instance: Instance, environment: Mapping[str, str], text: str, *, stop_seconds: float
) -> Iterator[children.Child]:
    """supervisor with this configuration; on leaving, all of its processes are stopped."""
    if "%" in str(instance.home):
        raise SetupError(f"supervisor can't read the path {instance.home}, with a percent sign: set VAR")
    path, log = instance.home / "supervisor.conf", instance.logs / "supervisor.log"
    places.write_whole(path, text, mode=0o600)
    # Relative, because supervisor splits commands at spaces and the project may lie in "My Projects".
    python = os.path.relpath(sys.executable, places.PROJECT)
    own = {**environment, "FIRSTCOME_PYTHON": python, process_identity.MARK: str(instance.home)}
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(path)]
    # On SIGTERM it stops its processes in order, so it gets one even if this process is killed.
    daemon = children.start(command, log=log, environment=own, when_parent_dies=signal.SIGTERM)
    try:
        yield daemon
    finally:
        children.stop(daemon, within_seconds=stop_seconds)


def wait_until_it_answers(instance: Instance, daemon: children.Child) -> None:
    socket, log = str(instance.supervisor_socket), instance.logs / "supervisor.log"
    children.wait_until(socket, name="supervisor", child=daemon, log=log, within_seconds=START_SECONDS)


def start(instance: Instance, names: Sequence[str]) -> None:
    """Start these processes; returns once their ids are written."""
    for name in names:
        calls(instance).startProcess(_full_name(name), False)
    waiting.until(
        lambda: all((instance.run / f"{name}.pid").exists() for name in names),
        f"supervisor started no {' and no '.join(names)}; see {instance.logs / 'supervisor.log'}",
        within_seconds=START_SECONDS,
        pause_seconds=0.02,
    )


def stop(instance: Instance, name: str) -> None:
    """Stop the process, and leave it stopped until it is started again."""
    calls(instance).stopProcess(_full_name(name))


def _full_name(name: str) -> str:
    return f"shop:{name}" if name in (*OUTSIDE, *SHOP) else f"stores:{name}"


def calls(instance: Instance) -> Any:
    """supervisor's own calls, which raise `xmlrpc.client.Fault` and `OSError`."""
    transport = SupervisorTransport(None, None, f"unix://{instance.supervisor_socket}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def states(instance: Instance) -> dict[str, str]:
    """The state of each process in supervisor's words: `RUNNING`, `BACKOFF` when it died right away, …"""
    return {process["name"]: process["statename"] for process in calls(instance).getAllProcessInfo()}


def environment(instance: Instance) -> dict[str, str]:
    """What every process of the running instance has in its environment, which is supervisor's own."""
    pid = (instance.run / "supervisor.pid").read_text().strip()
    entries = Path("/proc", pid, "environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def clear_leftovers(instance: Instance, *, within_seconds: float = 8) -> bool:
    """End every process that an earlier run left; returns whether there was one."""

    def kill_them() -> set[int]:
        # Looked up again each time: one may have started another before its signal came.
        left = process_identity.of_state(instance.home)
        process_identity.kill(left)
        return left

    found = process_identity.of_state(instance.home)
    process_identity.kill(found, signal.SIGTERM)
    waiting.left(lambda: process_identity.of_state(instance.home), within_seconds=within_seconds)
    if left := waiting.left(kill_them, within_seconds=STOP_SECONDS):
        raise SetupError(f"processes of an earlier run do not end: {sorted(left)}")
    for path in [*instance.run.glob("*.pid"), *instance.run.glob("*.sock*")]:
        path.unlink(missing_ok=True)
    return bool(found)
