"""A Prometheus beside a stack: Debian's program, its data in a folder, on a free port of loopback."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack import SetupError, children, ports, system_packages

STOP_SECONDS = 20
QUERY_SECONDS = 30


@dataclass(frozen=True)
class Series:
    """One time series of a query's result: its labels, and its (time in seconds, value) pairs in order."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def value(self) -> float:
        """The newest one."""
        return self.points[-1][1]


@dataclass(frozen=True)
class Prometheus:
    """A running one, asked over its HTTP API."""

    url: str

    def query(self, expression: str) -> list[Series]:
        """The expression's series now; a scalar has no labels. Raises SetupError for a wrong expression."""
        return _series(self.get("query", query=expression))

    def query_range(self, expression: str, *, start: float, end: float, step: float) -> list[Series]:
        """Its series from `start` to `end` (seconds since 1970), a point every `step` seconds."""
        return _series(self.get("query_range", query=expression, start=start, end=end, step=step))

    def alerts(self) -> list[Any]:
        """The alerts that are pending or firing."""
        found: list[Any] = self.get("alerts")["alerts"]
        return found

    def targets(self) -> dict[str, str]:
        """The health of each target: `up`, `down` or `unknown` by its address."""
        return {one["labels"]["instance"]: one["health"] for one in self.get("targets")["activeTargets"]}

    def get(self, path: str, **parameters: object) -> Any:
        """The `data` of a call of its API."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=QUERY_SECONDS) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise SetupError(f"Prometheus refused {parameters}: {error.read().decode()}") from None


@contextmanager
def running(
    folder: Path,
    *,
    targets: Mapping[str, Sequence[str]],
    rules: Sequence[Path] = (),
    alertmanagers: Sequence[str] = (),
    scrape_seconds: float = 1,
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes `/metrics` of each job's targets and evaluates the rules. Raises
    SetupError."""
    folder.mkdir(parents=True, exist_ok=True)
    interval = f"{scrape_seconds * 1000:.0f}ms"
    configuration = {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": interval,
        },
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
            for job, addresses in targets.items()
        ],
        "rule_files": [str(path) for path in rules],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]},
    }
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(configuration, indent=1))
    port = ports.free()
    command = [
        system_packages.program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={ports.HOST}:{port}",
        "--log.level=warn",
    ]
    url = f"http://{ports.HOST}:{port}"
    with server(command, name="prometheus", ready=f"{url}/-/ready", log=folder / "prometheus.log"):
        yield Prometheus(url)


@contextmanager
def server(
    command: Sequence[str], *, name: str, ready: str, log: Path, settings: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A program of the monitoring from the moment that this address answers with 200. Raises SetupError."""
    with children.running(
        command,
        name=name,
        log=log,
        is_ready=lambda: _is_ready(ready),
        environment={**os.environ, **(settings or {})},
        stop_seconds=STOP_SECONDS,
    ):
        yield


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _series(data: Any) -> list[Series]:
    if data["resultType"] in ("scalar", "string"):
        return [Series({}, [_point(data["result"])])]
    return [
        Series(one["metric"], [_point(pair) for pair in one.get("values") or [one["value"]]])
        for one in data["result"]
    ]


def _point(pair: tuple[float, str]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
