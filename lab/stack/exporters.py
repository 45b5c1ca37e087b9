"""Debian's exporters of Redis and MariaDB beside a stack, each a process on a free port of loopback."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from lab.stack import prometheus
from scripts.stack import ports, system_packages
from scripts.stack.instance import Instance
from scripts.stack.mariadb import USER


@contextmanager
def running(instance: Instance, folder: Path) -> Iterator[dict[str, list[str]]]:
    """The exporters of the instance's servers; yields their addresses by job. Raises SetupError."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"REDIS_ADDR": f"unix://{instance.redis_socket}"}
    with ExitStack() as servers:
        redis = _exporter("prometheus-redis-exporter", settings, folder)
        targets = {"redis": [servers.enter_context(redis)]}
        if instance.database == "mariadb":
            targets["mysql"] = [servers.enter_context(of_mariadb(instance, folder))]
        yield targets


def of_mariadb(instance: Instance, folder: Path, *options: str) -> AbstractContextManager[str]:
    """The address of MariaDB's exporter while it runs, signed in as the shop's user. Raises SetupError."""
    # Not on the command line, which other users of the machine can read.
    settings = {"DATA_SOURCE_NAME": f"{USER}:{instance.mariadb().password}@unix({instance.mariadb_socket})/"}
    return _exporter("prometheus-mysqld-exporter", settings, folder, *options)


@contextmanager
def _exporter(name: str, settings: Mapping[str, str], folder: Path, *options: str) -> Iterator[str]:
    address, log = f"{ports.HOST}:{ports.free()}", folder / f"{name}.log"
    command = [system_packages.program(name), *options, f"--web.listen-address={address}"]
    with prometheus.server(command, name=name, ready=f"http://{address}/", log=log, settings=settings):
        yield address
