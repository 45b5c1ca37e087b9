"""`make cluster`: the shop on a cluster of each of its servers, from an empty folder to a line to paste."""

import argparse
import sys
import time
from collections.abc import Mapping

from lab.cluster import environment, layout, packages, readiness, shutdown, steps, supervision, templates
from lab.cluster.layout import Cluster
from lab.cluster.servers import monitoring, rabbitmq, redis
from scripts.stack import (
    SetupError,
    children,
    debian,
    environment as environments,
    instance as instances,
    places,
    ports,
    preparation,
    supervision as stack_supervision,
    welcome,
)

MEGABYTES_NEEDED = 4000
VENV_PYTHON = ".venv/bin/python"


def main() -> int:
    """Start everything and stay until it is stopped. Raises SetupError, or KeyboardInterrupt before that."""
    parser = argparse.ArgumentParser(
        prog="make cluster", description="Run the shop on a cluster on this machine."
    )
    parser.add_argument("--port", default="", help=f"the first of {layout.PORTS} ports")
    cluster = layout.choose(parser.parse_args().port)
    packages.require_root("make cluster")
    composed = environment.compose(cluster, environments.given())
    instance = cluster.instance
    places.private_folder(cluster.home)
    for folder in (
        instance.run,
        instance.logs,
        instance.data,
        instance.static,
        cluster.settings,
        cluster.mysql,
    ):
        folder.mkdir(parents=True, exist_ok=True)
    with instances.held(instance, command="make cluster"):
        if stack_supervision.clear_leftovers(instance, within_seconds=30):
            children.say("Ended the processes that an earlier run left.")
        places.require_space(cluster.home, megabytes=MEGABYTES_NEEDED)
        debian.MYSQL.require()
        for kind in layout.OFFSETS:
            _require_free_ports(cluster, kind)
        instances.remember(instance)
        _write_settings(cluster, composed)
        try:
            return _serve(cluster, composed)
        finally:
            instances.begin_to_stop(cluster.instance)
            stack_supervision.clear_leftovers(instance)


def _serve(cluster: Cluster, composed: Mapping[str, str]) -> int:
    is_ready = False
    with supervision.supervisor(cluster, composed) as daemon:
        try:
            began_at = time.monotonic()
            stack_supervision.wait_until_it_answers(cluster.instance, daemon)
            _bring_up(cluster, composed)
            is_ready = True
            children.say(_greeting(cluster, composed, seconds=time.monotonic() - began_at))
            daemon.wait()
        except KeyboardInterrupt:
            instances.begin_to_stop(cluster.instance)
            if not is_ready:
                raise
            children.say("\nStopping …")
            shutdown.stop_in_order(cluster, say=children.say)
            return 0
    raise SetupError(
        f"supervisor ended; see {cluster.instance.logs / 'supervisor.log'}, and start the cluster again"
    )


def _bring_up(cluster: Cluster, composed: Mapping[str, str]) -> None:
    """Each part when what it needs is there. MySQL's members that follow the first one join meanwhile."""
    supervision.start(cluster, "routes")
    readiness.wait_for_stores(cluster)
    readiness.wait_for_database(cluster)
    children.say("MySQL, Redis and RabbitMQ serve.")
    preparation.prepare_apart(cluster.home, {**composed, "FIRSTCOME_VAR": str(cluster.home)})
    supervision.start(cluster, "web", "front")
    readiness.wait_for_shop(cluster)
    # These can wait; on two processors their start would delay the web nodes'.
    supervision.start(cluster, "background", "monitoring")
    readiness.wait_for_members(cluster)


def _write_settings(cluster: Cluster, composed: Mapping[str, str]) -> None:
    steps.report_of(cluster).unlink(missing_ok=True)
    redis.prepare(cluster)
    rabbitmq.prepare(cluster)
    monitoring.prepare(cluster)
    templates.write(cluster.settings / "haproxy-front.cfg", "haproxy-front.cfg", cluster)
    templates.write(cluster.settings / "haproxy-database.cfg", "haproxy-database.cfg", cluster)
    # HTTP's lines end in CR LF.
    refusal = templates.render("unavailable.http", cluster).replace("\n", "\r\n")
    places.write_whole(cluster.settings / "unavailable.http", refusal)
    environment.write_file(cluster, composed)


def _greeting(cluster: Cluster, composed: Mapping[str, str], *, seconds: float) -> str:
    url = cluster.instance.url
    rows = {
        "Start page": f"{url}/",
        "API docs": f"{url}/api/docs/",
        "Admin": f"{url}/admin/",
        "Gateway": f"{composed['GATEWAY_URL']}/summary",
        "Web nodes": f"http://{cluster.address('front-statistics')}/statistics",
        "Database": f"{cluster.address('database')}, to the primary",
        "RabbitMQ": f"http://{cluster.address('rabbitmq-management')}, as firstcome",
        "Prometheus": f"http://{cluster.address('prometheus')}",
    }
    addresses = "".join(f"  {name:11} {text}\n" for name, text in rows.items())
    return f"""
Firstcome's cluster is ready: all members are online after {seconds:.0f} s. Its state is in {cluster.home}.

{addresses}
Status: make cluster-status    Commands: . {cluster.environment_file} && {VENV_PYTHON} manage.py doctor

{welcome.demo(cluster.instance)}

Ctrl-C stops everything."""


def _require_free_ports(cluster: Cluster, kind: str) -> None:
    owner = kind if kind in layout.SIZES else kind.partition("-")[0]
    for number in layout.numbers(owner) if owner in layout.SIZES else [1]:
        ports.require_free(cluster.port(kind, number), command="make cluster")


if __name__ == "__main__":
    sys.exit(children.run_command("firstcome", main))
