"""supervisor over the cluster's processes: what starts at once, what later, and in which order all stop."""

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from xmlrpc.client import Fault

from lab.cluster import layout
from lab.cluster.layout import Cluster
from scripts.stack import supervision as stack_supervision, waiting
from scripts.stack.supervision import Program

GROUPS: Mapping[str, Sequence[str]] = {
    "directory": ["epmd"],
    "stores": layout.names("mysql", "redis", "rabbitmq"),
    "keepers": ["mysql-keeper", *layout.names("sentinel"), "rabbitmq-keeper"],
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


def configuration(cluster: Cluster) -> str:
    """supervisor's configuration file. A member that ends is started again: cloning ends with a shutdown."""
    programs = {
        group: [
            Program(
                name=name,
                module="lab.cluster.processes",
                is_started_at_once=group in AT_ONCE,
                stop_signal=STOP_SIGNALS.get(name, "TERM"),
                stop_seconds=STOP_SECONDS.get(layout.split(name)[0], DEFAULT_STOP_SECONDS),
            )
            for name in names
        ]
        for group, names in GROUPS.items()
    }
    socket = str(cluster.instance.supervisor_socket)
    return stack_supervision.configuration_of(programs, socket=socket, is_root=True)


def supervisor(
    cluster: Cluster, environment: Mapping[str, str]
) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    """supervisor, with the groups in `AT_ONCE` starting; on leaving, all processes are stopped."""
    return stack_supervision.supervised(
        cluster.instance, environment, configuration(cluster), stop_seconds=sum(STOP_SECONDS.values())
    )


def start(cluster: Cluster, *names: str) -> None:
    """Start these groups or processes, as far as they don't run; returns when supervisor has begun to."""
    for name in names:
        try:
            if name in GROUPS:
                stack_supervision.calls(cluster.instance).startProcessGroup(name, False)
            else:
                stack_supervision.calls(cluster.instance).startProcess(full_name(name), False)
        except Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise


def stop(cluster: Cluster, *names: str) -> None:
    """Stop these processes at the same time, and leave them stopped; returns when all have ended."""
    for name in _running(cluster, names):
        stack_supervision.calls(cluster.instance).stopProcess(full_name(name), False)
    waiting.left(lambda: _running(cluster, names), within_seconds=max(STOP_SECONDS.values()))


def _running(cluster: Cluster, names: Sequence[str]) -> list[str]:
    found = states(cluster)
    return [name for name in names if found[name] in {"STARTING", "RUNNING", "STOPPING", "BACKOFF"}]


def states(cluster: Cluster) -> dict[str, str]:
    """The state of each process in supervisor's words."""
    return stack_supervision.states(cluster.instance)


def full_name(name: str) -> str:
    return next(f"{group}:{name}" for group, names in GROUPS.items() if name in names)
