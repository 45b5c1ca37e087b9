"""What watches a stack as the compose file has it: Debian's Prometheus, Alertmanager and exporters."""

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.alerts import receiver, shortening
from lab.alerts.receiver import Receiver
from scripts import alert_rules
from scripts.stack import SetupError, children, places, ports, system_packages, waiting
from scripts.stack.instance import Instance
from scripts.stack.programs import exporters, prometheus
from scripts.stack.programs.prometheus import Prometheus

SCRAPE_SECONDS, SLOWEST_SCRAPE_SECONDS = 2.0, 4.0
"""Of a range of ten seconds that is five scrapes; or two, on a machine that has more to do than it has cores.

A scrape may take as long. Rules are evaluated as often."""
COMPOSE = places.PROJECT / "docker-compose.yml"
STOP_SECONDS = 5


@dataclass
class Watchers:
    """The running Prometheus, where alerts arrive, and the exporter of Redis, which can be stopped."""

    prometheus: Prometheus
    receiver: Receiver
    start_redis_exporter: Callable[[], Any]
    _redis_exporter: Any = None

    def __post_init__(self) -> None:
        self._redis_exporter = self.start_redis_exporter()

    def stop_redis_exporter(self) -> None:
        children.stop(self._redis_exporter, within_seconds=STOP_SECONDS)

    def restart_redis_exporter(self) -> None:
        self._redis_exporter = self.start_redis_exporter()

    def pending(self) -> set[str]:
        """The names of the alerts that are pending or firing, whether they are inhibited or not."""
        return {alert["labels"]["alertname"] for alert in self.prometheus.alerts()}

    def wait_until_evaluated(self, *, within_seconds: float) -> None:
        """Wait until every target was scraped, and all rules evaluated twice since. Raises SetupError."""

        def missing() -> list[str]:
            return [name for name, health in self.prometheus.targets().items() if health != "up"]

        if left := waiting.left(missing, within_seconds=within_seconds, pause_seconds=0.5):
            raise SetupError(f"not scraped within {within_seconds:.0f} s: {', '.join(left)}")
        time.sleep(2 * SLOWEST_SCRAPE_SECONDS)

    def wait_until_quiet(self, *, resolved: Collection[str] = (), within_seconds: float) -> None:
        """Wait until no alert is pending or firing, and the receiver knows that these are resolved.

        Of the others it may not get to know: Alertmanager does not send that an alert is resolved which was
        inhibited at that moment, not even if it had sent that it fires. Raises SetupError.
        """

        def alerts() -> set[str]:
            return self.pending() | self.receiver.firing().intersection(resolved)

        if left := waiting.left(alerts, within_seconds=within_seconds, pause_seconds=0.5):
            raise SetupError(f"{', '.join(sorted(left))} did not end within {within_seconds:.0f} s")


@contextmanager
def watching(instance: Instance, *, targets: dict[str, list[str]]) -> Iterator[Watchers]:
    """Watch the stack, by rules whose durations are shortened. `targets` are the shop's, by job."""
    folder = instance.home / "watchers"
    folder.mkdir()
    redis, alertmanager = (f"{ports.HOST}:{ports.free()}" for _ in range(2))
    # With the options of the compose file.
    _, *options = yaml.safe_load(COMPOSE.read_text())["services"]["mysql_exporter"]["command"]
    start_redis_exporter = lambda: _start_redis_exporter(instance, redis, folder)  # noqa: E731
    with (
        receiver.listening() as taken,
        _alertmanager(folder, alertmanager, taken),
        exporters.of_mariadb(instance, folder, *options) as mysql,
        prometheus.running(
            folder / "prometheus",
            targets=targets | {"redis": [redis], "mysql": [mysql], "alertmanager": [alertmanager]},
            rules=shortening.write_rules(folder / "rules"),
            alertmanagers=[alertmanager],
            scrape_seconds=_scrape_seconds(),
        ) as server,
    ):
        found = Watchers(server, taken, start_redis_exporter)
        try:
            yield found
        finally:
            found.stop_redis_exporter()


def _scrape_seconds() -> float:
    """A process that answers late on a busy machine is not down."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(SLOWEST_SCRAPE_SECONDS, SCRAPE_SECONDS * max(1.0, load / 2))


@contextmanager
def _alertmanager(folder: Path, address: str, taken: Receiver) -> Iterator[None]:
    """Alertmanager, started as its container starts it."""
    configuration = folder / "alertmanager.yml"
    configuration.write_text(shortening.alertmanager_configuration())
    settings = {
        "PAGER_WEBHOOK_URL": f"{taken.url}/pager",
        "TICKET_WEBHOOK_URL": f"{taken.url}/tickets",
        "TMPDIR": str(folder),
    }
    command = [
        sys.executable,
        str(alert_rules.OPS / "monitoring" / "alertmanager.py"),
        str(configuration),
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    ready, log = f"http://{address}/-/ready", folder / "alertmanager.log"
    with prometheus.server(command, name="alertmanager", ready=ready, log=log, settings=settings):
        yield


def _start_redis_exporter(instance: Instance, address: str, folder: Path) -> Any:
    command = [
        system_packages.program("prometheus-redis-exporter"),
        f"-redis.addr=unix://{instance.redis_socket}",
        f"-web.listen-address={address}",
    ]
    return children.start(command, log=folder / "redis.log", environment={})
