"""A copy of the project with an `.env` of its own, and `docker compose` in it."""

import secrets
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.chaos import trial
from lab.containers.engine import Engine
from lab.containers.report import require
from scripts.stack import SetupError, places, waiting
from scripts.stack.instance import Instance

FILES = ("docker-compose.yml", "scripts/docker/simulators.yml", "lab/containers/override.yml")
"""What COMPOSE_FILE has; the first two are those of docs/operations.md."""
PORTS = 5
"""In a row: those of an instance (web, gateway, data platform), then Prometheus and Alertmanager."""
SECRETS = (
    "MYSQL_PASSWORD",
    "MYSQL_ROOT_PASSWORD",
    "RABBITMQ_PASSWORD",
    "REDIS_PASSWORD",
    "GRAFANA_PASSWORD",
    "SECRET_KEY",
    "EVENT_SECRET",
    "METRICS_TOKEN",
    "WEBHOOK_SECRET_SIMULATOR",
)
SETTINGS = {
    "ALLOWED_HOSTS": "localhost",
    "PAYMENT_GATEWAY": "simulator",
    "GATEWAY_URL": "http://gateway:8001",
    "DATA_PLATFORM_URL": "http://data_platform:8002",
    "BROKER_QUEUE_TYPE": "quorum",
}
"""As docs/operations.md has them for the simulators, and a queue of the kind that a cluster has."""
SHOP = ("web", "worker", "beat", "issuer")
"""The containers of the shop itself."""
PROXIES = ("proxy",)
STORES = ("redis", "rabbitmq", "mysql")
WATCHERS = ("prometheus", "alertmanager", "redis_exporter", "mysql_exporter")
SIMULATORS = ("gateway", "data_platform")
ONCE = ("migrate", "backup")
"""Containers that do one thing and end."""
LEFT_OUT = {
    "grafana": "its image is had from an image registry only; dashboards are held to metrics by other tests"
}
HEALTHY = (*STORES, *SHOP, *PROXIES, *WATCHERS)
"""Each has to be healthy; the simulators have no check of their own."""
HEALTHY_SECONDS, BUILD_SECONDS, UP_SECONDS, MANAGE_SECONDS = 240, 1200, 600, 600


@dataclass(frozen=True, kw_only=True)
class Project:
    """A checkout whose containers run in the engine."""

    engine: Engine
    folder: Path
    instance: Instance
    """The addresses by which clients reach it."""

    @property
    def prometheus_port(self) -> int:
        return self.instance.port + 3

    def compose(self, *words: str, within_seconds: float = UP_SECONDS, text: str | None = None) -> str:
        """What `docker compose …` prints. Raises CheckFailed."""
        return self.engine.run("docker", "compose", *words, within_seconds=within_seconds, text=text).stdout

    def manage(self, words: str, *, service: str = "web", codes: tuple[int, ...] = (0,)) -> str:
        """What a management command prints in a running container. Raises CheckFailed."""
        command = ["docker", "compose", "exec", "-T", service, "python", "manage.py", *words.split()]
        return self.engine.run(*command, within_seconds=MANAGE_SECONDS, codes=codes).stdout

    def run_once(self, service: str, *words: str) -> str:
        """What `docker compose run --rm …` prints. Raises CheckFailed."""
        return self.compose("run", "--rm", "-T", service, *words, within_seconds=MANAGE_SECONDS)

    def inspect(self, service: str, template: str) -> str:
        return self.engine.inspect(f"firstcome-{service}-1", template)

    def unhealthy(self, services: Iterable[str] = HEALTHY) -> dict[str, str]:
        """What each service that is not healthy is instead."""
        names = [f"firstcome-{service}-1" for service in services]
        template = "{{.Name}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
        command = ["docker", "inspect", "--format", template, *names]
        found = self.engine.run(*command, codes=(0, 1)).stdout.splitlines()
        states = {line.split()[0].removeprefix("/"): " ".join(line.split()[1:]) for line in found}
        return {name: states.get(name, "absent") for name in names if states.get(name) != "running healthy"}

    def wait_until_healthy(self, services: Iterable[str] = HEALTHY) -> None:
        """Raises CheckFailed with those that are not healthy in time."""
        asked = list(services)
        left = waiting.left(lambda: self.unhealthy(asked), within_seconds=HEALTHY_SECONDS, pause_seconds=0.5)
        require(not left, f"not healthy after {HEALTHY_SECONDS} s: {left}")

    def grace_seconds(self, service: str) -> int:
        """The service's `stop_grace_period`; Compose's own is 10 s."""
        text = self.inspect(service, "{{if .Config.StopTimeout}}{{.Config.StopTimeout}}{{end}}")
        return int(text or 10)


def copy(target: Path) -> None:
    """Copy what git has of this checkout, as it stands in its folder, to a new folder. Raises SetupError."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    ran = subprocess.run(listed, cwd=places.PROJECT, capture_output=True, check=False)
    if ran.returncode != 0:
        raise SetupError(f"git can't list the project's files: {ran.stderr.decode()}")
    shutil.rmtree(target, ignore_errors=True)
    for name in filter(None, ran.stdout.decode().split("\0")):
        source = places.PROJECT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)


def write_settings(folder: Path, instance: Instance) -> None:
    """Write the copy's `.env`: secrets, addresses, and the short times of a trial."""
    chosen = {name: secrets.token_hex(32) for name in SECRETS}
    ports = {
        "WEB_PORT": instance.port,
        "GATEWAY_PORT": instance.gateway_port,
        "DATA_PLATFORM_PORT": instance.data_platform_port,
        "PROMETHEUS_PORT": instance.port + 3,
        "ALERTMANAGER_PORT": instance.port + 4,
    }
    files = {"COMPOSE_FILE": ":".join(FILES)}
    lines = [
        f"{name}={value}" for name, value in (chosen | SETTINGS | trial.SETTINGS | ports | files).items()
    ]
    places.write_whole(folder / ".env", "\n".join([*lines, ""]), mode=0o600)


def require_known_services(project: Project) -> None:
    """Raise CheckFailed for a service that no check looks at and that is not named as left out."""
    known = {*SHOP, *PROXIES, *STORES, *WATCHERS, *SIMULATORS, *ONCE}
    there = set(project.compose("--profile", "*", "config", "--services").split())
    require(there == known | LEFT_OUT.keys(), f"checked are {sorted(known)}, there are {sorted(there)}")
