"""What watches a stack: Debian's Prometheus and exporters, each a program on a free port of loopback."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from scripts.stack import SetupError, children, ports, system_packages
from scripts.stack.instance import Instance
from scripts.stack.mariadb import USER


class Program(ExitStack):
    """A server beside the stack, which can be away for a while. `{address}` and `{port}` in its words, and
    `{port}` in its environment, are its own. Raises SetupError."""

    def __init__(self, log: Path, *words: str, page: str = "", **environment: str) -> None:
        """Start it. It is ready once it accepts connections, or answers 200 with this page."""
        super().__init__()
        port = ports.free()
        self.address = f"{ports.HOST}:{port}"

        def is_ready() -> bool:
            with suppress(OSError):
                return ports.ask(port, "GET", page)[0] == 200
            return False

        own = [word.format(address=self.address, port=port) for word in words]
        given = os.environ | {name: text.replace("{port}", str(port)) for name, text in environment.items()}
        how: dict[str, Any] = {"name": log.stem, "log": log, "environment": given, "stop_seconds": 20}
        self.started = partial(
            children.running, own, is_ready=is_ready if page else (ports.HOST, port), **how
        )
        self.child = self.enter_context(self.started())

    @contextmanager
    def away(self) -> Iterator[None]:
        self.close()
        yield
        self.enter_context(self.started())


def of_redis(instance: Instance, folder: Path) -> Program:
    """The exporter of the instance's Redis."""
    words = [system_packages.program("prometheus-redis-exporter"), "-web.listen-address={address}"]
    log = folder / "redis-exporter.log"
    return Program(log, *words, page="/", REDIS_ADDR=f"unix://{instance.redis_socket}")


def of_mariadb(instance: Instance, folder: Path, *options: str) -> Program:
    """The exporter of the instance's MariaDB, signed in as the shop's user."""
    words = [
        system_packages.program("prometheus-mysqld-exporter"),
        "--web.listen-address={address}",
        *options,
    ]
    # Not on the command line, which other users of the machine can read.
    source = f"{USER}:{instance.mariadb().password}@unix({instance.mariadb_socket})/"
    return Program(folder / "mysqld-exporter.log", *words, page="/", DATA_SOURCE_NAME=source)


@dataclass(frozen=True)
class Prometheus:
    """A running one, asked over its HTTP API."""

    address: str

    def query(self, expression: str) -> list[Any]:
        """The expression's series now. Raises SetupError for a wrong expression."""
        return list(self.get("query", query=expression)["result"])

    def targets(self) -> dict[str, str]:
        """The health of each target: `up`, `down` or `unknown` by its address."""
        return {one["labels"]["instance"]: one["health"] for one in self.get("targets")["activeTargets"]}

    def get(self, path: str, **parameters: object) -> Any:
        """The `data` of a call of its API. Raises OSError, and SetupError where it refuses."""
        port = int(self.address.rpartition(":")[2])
        status, text = ports.ask(port, "GET", f"/api/v1/{path}?{urlencode(parameters)}")
        if status != 200:
            raise SetupError(f"Prometheus refused {parameters}: {text}")
        return json.loads(text)["data"]


@contextmanager
def running(
    folder: Path,
    *,
    targets: Mapping[str, Sequence[str]],
    rules: Sequence[Path] = (),
    alertmanagers: Sequence[str] = (),
    scrape_seconds: float = 1,
) -> Iterator[Prometheus]:
    """One that scrapes `/metrics` of each job's targets and evaluates the rules. Raises SetupError."""
    folder.mkdir(parents=True, exist_ok=True)
    times = ("scrape_interval", "scrape_timeout", "evaluation_interval")
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [*addresses]}]} for job, addresses in targets.items()
    ]
    configuration = {
        "global": dict.fromkeys(times, f"{scrape_seconds * 1000:.0f}ms"),
        "scrape_configs": jobs,
        "rule_files": [str(path) for path in rules],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [*alertmanagers]}]}]},
    }
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(configuration, indent=1))
    words = [system_packages.program("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
    words += [f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address={address}", "--log.level=warn"]
    with Program(folder / "prometheus.log", *words, page="/-/ready") as program:
        yield Prometheus(program.address)
