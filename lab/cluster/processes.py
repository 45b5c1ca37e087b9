"""What runs in the cluster: the command line of each process, by name.

`python -m lab.cluster.processes NAME`, which supervisor starts, writes its id, prepares what the program
needs, and becomes the program: the id is the program's own.
"""

import os
import shutil
import sys
from collections.abc import Mapping

from lab.cluster import environment as environments, layout, overrides
from lab.cluster.layout import Cluster
from lab.cluster.servers import monitoring, mysql, rabbitmq, redis
from scripts.stack import SetupError, processes as stack_processes, system_packages
from scripts.stack.processes import Command

STOP_SECONDS = "4"
"""For requests under way when a web node stops."""


def command(name: str, cluster: Cluster, environment: Mapping[str, str]) -> Command:
    """The command line of the process in the foreground. Raises SetupError when its program is missing."""
    kind, number = layout.split(name)
    match kind:
        case "mysql":
            return mysql.member_command(number)
        case "router":
            return mysql.router_command(number)
        case "mysql-keeper":
            return [sys.executable, "-m", "lab.cluster.group_replication.keeper"]
        case "redis" | "sentinel":
            return redis.command(cluster, kind, number)
        case "epmd" | "rabbitmq":
            return rabbitmq.command(cluster, kind)
        case "rabbitmq-keeper":
            return [sys.executable, "-m", "lab.cluster.rabbitmq_keeper"]
        case "haproxy-front" | "haproxy-database":
            return [system_packages.program("haproxy"), "-db", "-f", str(cluster.settings / f"{kind}.cfg")]
        case "prometheus" | "mysql-exporter" | "redis-exporter":
            return monitoring.command(cluster, kind, number)
        case "web":
            options = ("--graceful-timeout", STOP_SECONDS, "--workers", environment["WEB_WORKERS"])
            return stack_processes.web_server(cluster.port("web", number), *options)
        case "worker":
            # Workers need names of their own on one machine.
            return [*_stack(kind, cluster, environment), "--hostname", f"{name}@cluster"]
        case "beat":
            schedule = str(cluster.folder(name) / "schedule")
            return [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "shop",
                "beat",
                "--schedule",
                schedule,
                "--pidfile",
                "",
            ]
        case "issuer" | "gateway" | "sink" | "partner":
            return _stack(kind, cluster, environment)
    raise ValueError(f"no process is called {name}")


def _stack(kind: str, cluster: Cluster, environment: Mapping[str, str]) -> Command:
    return stack_processes.command(kind, cluster.instance, environment)


def own_environment(name: str, cluster: Cluster, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of one process."""
    kind, number = layout.split(name)
    if kind in ("epmd", "rabbitmq"):
        return {**environment, **rabbitmq.environment(cluster, kind, number)}
    if kind in ("mysql-exporter", "redis-exporter"):
        return {**environment, **monitoring.environment(cluster, kind, number)}
    return environments.for_process(name, cluster, environment)


def _prepare(name: str, cluster: Cluster) -> None:
    """What has to be there before the program starts, and may have gone since it ran last."""
    kind, number = layout.split(name)
    cluster.folder(name).mkdir(parents=True, exist_ok=True)
    if kind == "mysql":
        mysql.prepare_member(cluster, number)
    elif kind == "router":
        mysql.prepare_router(cluster, number)
    elif kind == "web":
        # Values of a process that has ended must not be added up.
        folder = cluster.instance.metrics / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)


def main() -> None:
    name = sys.argv[1]
    try:
        cluster = layout.remembered()
        stack_processes.take_place(cluster.instance.run, name)
        overrides.join_group(name)
        _prepare(name, cluster)
        environment = own_environment(name, cluster, os.environ)
        if code := overrides.read(cluster, name):
            os.chdir(code)
        line = command(name, cluster, environment)
    except SetupError as error:
        sys.exit(f"{name}: {error}")
    if layout.split(name)[0] in ("epmd", "rabbitmq"):
        # Erlang writes what it leaves of a crash into the folder in which it runs.
        os.chdir(cluster.folder(name))
    os.execvpe(line[0], line, environment)


if __name__ == "__main__":
    main()
