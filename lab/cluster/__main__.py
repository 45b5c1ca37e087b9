"""`make cluster`: the shop on a cluster of each of its servers, from an empty folder to a line to paste."""

import os
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from lab.cluster import keepers, layout, processes, status
from lab.cluster.layout import Cluster
from scripts import options
from scripts.stack import Environment, SetupError, children, places, ports, preparation, supervision, welcome
from scripts.stack.environment import defaults, given
from scripts.stack.instance import held, remember
from scripts.stack.supervision import Program
from scripts.stack.system_packages import MYSQL

MOST_SECONDS = 600
DYING_SECONDS = 10  # Members may be cloned, on a machine that may be slow; what keeps dying is given up
STOP_SECONDS = 105  # All groups, one after the other
# The addresses that the greeting has.
SHOWN = ("front", "gateway", "front-statistics", "database", "rabbitmq-management", "prometheus")


def main() -> int:
    """Start everything and stay until it is stopped. Raises SetupError, or KeyboardInterrupt."""
    parser = options.parser("make cluster", port=f"the first of {layout.PORTS} ports")
    beyond = 65535 - ports.FOR_SERVERS.stop + layout.PORTS
    first = ports.parse(parser.parse_args().port or str(layout.DEFAULT_PORT), following=beyond)
    cluster = Cluster(home=places.private_folder(places.state() / "cluster"), port=first)
    MYSQL.require()
    composed = processes.compose(cluster, given())
    for folder in (cluster.run, cluster.logs, cluster.data, cluster.static, cluster.settings):
        folder.mkdir(parents=True, exist_ok=True)
    with held(cluster, command="make cluster"):
        supervision.clear_leftovers(cluster, within_seconds=30)
        for port in range(first, first + layout.PORTS):
            ports.require_free(port, command="make cluster")
        remember(cluster)
        layout.write_all(cluster)
        # What management commands need that a shell doesn't have, or may not have next time.
        ours = {*defaults(cluster), "FIRSTCOME_VAR"}
        lines = []
        for name, value in sorted(composed.items()):
            if name in ours or os.environ.get(name) != value:
                lines.append(f"export {name}={shlex.quote(value)}\n")
        places.write_whole(cluster.home / "env", "".join(lines), mode=0o600)
        try:
            return _serve(cluster, composed)
        finally:
            supervision.clear_leftovers(cluster)


def _serve(cluster: Cluster, composed: Environment) -> int:
    """Start each part when what it needs is there, and stay; MySQL's other members join meanwhile."""
    began_at = time.monotonic()
    programs = dict[str, list[Program]]()
    for name, spec in layout.PROGRAMS.items():
        # supervisor starts again what ends: cloning a member ends with a shutdown.
        program = Program(
            name=name,
            module=processes.__name__,
            is_started_at_once=spec.at_once,
            stop_signal=spec.stop_signal,
            stop_seconds=spec.stop_seconds,
        )
        programs.setdefault(spec.group, []).append(program)

    def start(groups: str, name: str, *parts: str) -> None:
        """Start these groups, and wait until nothing is missing of the parts."""
        for one in groups.split():
            supervision.calls(cluster).startProcessGroup(one, False)
        problem = partial(_problem, cluster, parts)
        supervision.wait_while(problem, cluster, name, most_seconds=MOST_SECONDS, dying_seconds=DYING_SECONDS)

    with supervision.supervised(cluster, composed, programs, stop_seconds=STOP_SECONDS) as daemon:
        start("routes", "mysql-1", "routes", "Redis", "Sentinel", "RabbitMQ")
        preparation.prepare_apart(cluster.home, {**composed, "FIRSTCOME_VAR": str(cluster.home)})
        start("web front", "web-1", "web")
        # These can wait; on two processors their start would delay the web nodes'.
        start("background monitoring", "mysql-keeper", "database")
        addresses = "\n".join(f"  {kind:20} {' '.join(cluster.addresses(kind))}" for kind in SHOWN)
        seconds = time.monotonic() - began_at
        of_a_shell = f". {cluster.home}/env && .venv/bin/python manage.py"
        children.say(
            f"All members of Firstcome's cluster are online after {seconds:.0f} s. State: {cluster.home}\n\n"
            f"{addresses}\n\nStatus: make cluster STATUS=1    Commands: {of_a_shell} doctor\n\n"
            f"{welcome.demo(cluster)}\n\nCtrl-C stops everything."
        )
        with suppress(KeyboardInterrupt):
            daemon.wait()
            raise SetupError(f"supervisor ended; see {cluster.logs / 'supervisor.log'}")
    return 0


def _problem(cluster: Cluster, parts: Sequence[str]) -> str:
    """What is missing of these parts. Raises SetupError when only a person can go on."""
    step = keepers.look(cluster)[1]
    if step.action == "refuse":
        raise SetupError(f"MySQL's group is not founded: {step.reason}")
    return "; ".join(status.missing(cluster, *parts))


if __name__ == "__main__":
    children.end_with(main)
