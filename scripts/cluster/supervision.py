"""supervisor over the cluster's processes: what starts at once, what later, and in which order all stop."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from scripts.cluster import layout
from scripts.cluster.layout import Cluster
from scripts.stack import SetupError, children, places, process_identity
from scripts.stack.supervision import LOG_BYTES

GROUPS: Mapping[str, Sequence[str]] = {
    "directory": ["epmd"],
    "stores": layout.names("mysql", "redis", "rabbitmq"),
    "keepers": ["mysql-keeper", *layout.names("sentinel")],
    "routes": [*layout.names("router"), "haproxy-database"],
    "outside": ["gateway", "sink", "partner"],
    "background": layout.names("worker", "issuer", "beat"),
    "web": layout.names("web"),
    "front": ["haproxy-front"],
    "monitoring": layout.names("mysql-exporter", "redis-exporter", "prometheus"),
}
"""Every process, in the order of the start; they stop in the reverse order."""
AT_ONCE = ("directory", "stores", "keepers", "outside")
"""Groups that need nothing but settings. The runner starts the others, as it finds what they need."""
STOP_SECONDS = {"mysql": 60, "rabbitmq": 30, "prometheus": 15}
DEFAULT_STOP_SECONDS = 6
STOP_SIGNALS = {"haproxy-front": "USR1"}
"""HAProxy's soft stop, which lets requests under way finish."""

_DAEMON = f"""\
[supervisord]
nodaemon=true
silent=true
logfile={{home}}/log/supervisor.log
logfile_maxbytes={LOG_BYTES}
logfile_backups=1
pidfile={{home}}/run/supervisor.pid
user=root
[unix_http_server]
file={{socket}}
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
_GROUP = """\
[group:{name}]
programs={programs}
priority={priority}
"""
_PROGRAM = f"""\
[program:{{name}}]
command=%(ENV_FIRSTCOME_PYTHON)s -m scripts.cluster.processes {{name}}
autostart={{autostart}}
autorestart=true
startsecs=1
startretries=1000
stopsignal={{signal}}
stopwaitsecs={{seconds}}
killasgroup=true
redirect_stderr=true
stdout_logfile={{home}}/log/{{name}}.log
stdout_logfile_maxbytes={LOG_BYTES}
stdout_logfile_backups=1
"""


def configuration(cluster: Cluster) -> str:
    """supervisor's configuration file. A member that ends is started again: cloning ends with a shutdown."""
    home = str(cluster.home)
    sections = [_DAEMON.format(home=home, socket=cluster.instance.supervisor_socket)]
    for priority, (group, programs) in enumerate(GROUPS.items()):
        sections.append(_GROUP.format(name=group, programs=",".join(programs), priority=priority))
        for name in programs:
            kind, _ = layout.split(name)
            sections.append(
                _PROGRAM.format(
                    name=name,
                    home=home,
                    autostart=str(group in AT_ONCE).lower(),
                    signal=STOP_SIGNALS.get(name, "TERM"),
                    seconds=STOP_SECONDS.get(kind, DEFAULT_STOP_SECONDS),
                )
            )
    return "".join(sections)


@contextmanager
def supervisor(cluster: Cluster, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """supervisor, with the groups in `AT_ONCE` starting; on leaving, all processes are stopped."""
    path, log = cluster.home / "supervisor.conf", cluster.instance.logs / "supervisor.log"
    if "%" in str(cluster.home):
        raise SetupError(
            f"supervisor can't read a path with a percent sign: {cluster.home}; choose another VAR"
        )
    places.write_whole(path, configuration(cluster), mode=0o600)
    own = {"FIRSTCOME_PYTHON": os.path.relpath(sys.executable, places.PROJECT)}
    own |= {process_identity.MARK: str(cluster.home)}
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(path)]
    # On SIGTERM it stops its processes in order, so it gets one even if this process is killed.
    daemon = children.start(
        command, log=log, environment={**environment, **own}, when_parent_dies=signal.SIGTERM
    )
    try:
        yield daemon
    finally:
        children.stop(daemon, within_seconds=sum(STOP_SECONDS.values()))


def start(cluster: Cluster, *names: str) -> None:
    """Start these groups or processes, as far as they don't run; returns when supervisor has begun to."""
    for name in names:
        try:
            if name in GROUPS:
                calls(cluster).startProcessGroup(name, False)
            else:
                calls(cluster).startProcess(full_name(name), False)
        except Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise


def stop(cluster: Cluster, *names: str) -> None:
    """Stop these processes at the same time, and leave them stopped; returns when all have ended."""
    for name in _running(cluster, names):
        calls(cluster).stopProcess(full_name(name), False)
    deadline = time.monotonic() + max(STOP_SECONDS.values())
    while _running(cluster, names) and time.monotonic() < deadline:
        time.sleep(0.2)


def _running(cluster: Cluster, names: Sequence[str]) -> list[str]:
    found = states(cluster)
    return [name for name in names if found[name] in {"STARTING", "RUNNING", "STOPPING", "BACKOFF"}]


def states(cluster: Cluster) -> dict[str, str]:
    """The state of each process in supervisor's words."""
    return {process["name"]: process["statename"] for process in calls(cluster).getAllProcessInfo()}


def full_name(name: str) -> str:
    return next(f"{group}:{name}" for group, names in GROUPS.items() if name in names)


def calls(cluster: Cluster) -> Any:
    transport = SupervisorTransport(None, None, f"unix://{cluster.instance.supervisor_socket}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor
