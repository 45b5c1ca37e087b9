"""`make cluster`: the shop on a cluster of each of its servers, from an empty folder to a line to paste."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from lab.cluster import group, layout, processes, status
from lab.cluster.layout import Cluster
from scripts.stack import (
    SetupError,
    children,
    environment as environments,
    instance as instances,
    places,
    ports,
    preparation,
    supervision,
    system_packages,
    welcome,
)
from scripts.stack.supervision import Program

MOST_SECONDS, DYING_SECONDS = 600, 10
"""Members may be cloned, on a machine that may be slow; what keeps dying is given up."""
STOP_SECONDS = 105
"""All groups, one after the other."""
SHOWN = ("front", "gateway", "front-statistics", "database", "rabbitmq-management", "prometheus")
"""The addresses that the greeting has."""


def main() -> int:
    """Start everything and stay until it is stopped. Raises SetupError, or KeyboardInterrupt."""
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("--port", default="", help=f"the first of {layout.PORTS} ports")
    beyond = 65535 - ports.FOR_SERVERS.stop + layout.PORTS
    first = ports.parse(parser.parse_args().port or str(layout.DEFAULT_PORT), following=beyond)
    cluster = Cluster(home=places.private_folder(places.state() / "cluster"), port=first)
    system_packages.MYSQL.require()
    composed = processes.compose(cluster, environments.given())
    for folder in (cluster.run, cluster.logs, cluster.data, cluster.static, cluster.settings):
        folder.mkdir(parents=True, exist_ok=True)
    with instances.held(cluster, command="make cluster"):
        supervision.clear_leftovers(cluster, within_seconds=30)
        for port in range(first, first + layout.PORTS):
            ports.require_free(port, command="make cluster")
        instances.remember(cluster)
        layout.write_all(cluster)
        # What management commands need that a shell doesn't have, or may not have next time.
        ours = {*environments.defaults(cluster), "FIRSTCOME_VAR"}
        own = {
            name: value for name, value in composed.items() if name in ours or os.environ.get(name) != value
        }
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(own.items())]
        places.write_whole(cluster.home / "env", "".join(lines), mode=0o600)
        try:
            return _serve(cluster, composed)
        finally:
            supervision.clear_leftovers(cluster)


def _serve(cluster: Cluster, composed: Mapping[str, str]) -> int:
    """Start each part when what it needs is there, and stay; MySQL's other members join meanwhile."""
    began_at = time.monotonic()
    programs: dict[str, list[Program]] = {}
    for name, (of, spec) in layout.PROGRAMS.items():
        # supervisor starts again what ends: cloning a member ends with a shutdown.
        own = {"stop_signal": spec.get("stop_signal", "TERM"), "stop_seconds": spec.get("stop_seconds", 6)}
        program = Program(name=name, module=processes.__name__, is_started_at_once="at_once" in spec, **own)
        programs.setdefault(of, []).append(program)
    with supervision.supervised(cluster, composed, programs, stop_seconds=STOP_SECONDS) as daemon:
        _start(cluster, "routes")
        _wait(cluster, "mysql-1", "routes", "Redis", "Sentinel", "RabbitMQ")
        children.say("MySQL, Redis and RabbitMQ serve.")
        preparation.prepare_apart(cluster.home, {**composed, "FIRSTCOME_VAR": str(cluster.home)})
        _start(cluster, "web", "front")
        _wait(cluster, "web-1", "web")
        # These can wait; on two processors their start would delay the web nodes'.
        _start(cluster, "background", "monitoring")
        _wait(cluster, "mysql-keeper", "database")
        addresses = "\n".join(f"  {kind:20} {' '.join(cluster.addresses(kind))}" for kind in SHOWN)
        children.say(
            "\nFirstcome's cluster is ready: all members are online after "
            f"{time.monotonic() - began_at:.0f} s. Its state is in {cluster.home}.\n\n{addresses}\n\n"
            "Status: make cluster STATUS=1    "
            f"Commands: . {cluster.home}/env && .venv/bin/python manage.py doctor\n\n"
            f"{welcome.demo(cluster)}\n\nCtrl-C stops everything."
        )
        with suppress(KeyboardInterrupt):
            daemon.wait()
            raise SetupError(f"supervisor ended; see {cluster.logs / 'supervisor.log'}")
        children.say("\nStopping …")
        return 0


def _start(cluster: Cluster, *groups: str) -> None:
    for one in groups:
        supervision.calls(cluster).startProcessGroup(one, False)


def _wait(cluster: Cluster, name: str, *parts: str) -> None:
    """Return once nothing of these parts is missing. Raises SetupError, also when the process keeps dying."""

    def problem() -> str:
        _, step = group.look(cluster)
        if step.action == "refuse":
            raise SetupError(f"MySQL's group is not founded: {step.reason}")
        return "; ".join(status.missing(cluster, *parts))

    times = {"most_seconds": MOST_SECONDS, "dying_seconds": DYING_SECONDS}
    supervision.wait_while(problem, cluster, name, **times)


if __name__ == "__main__":
    sys.exit(children.run_command("firstcome", main))
