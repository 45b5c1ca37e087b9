"""A Prometheus beside a stack: Debian's program, its data in a folder, on a free port of loopback."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import urllib3

from scripts.stack import SetupError, children, ports, system_packages

STOP_SECONDS = 20


@dataclass(frozen=True)
class Series:
    """One time series of a query's result: its labels, and its (time in seconds, value) pairs in order."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def value(self) -> float:
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
        return list(self.get("alerts")["alerts"])

    def targets(self) -> dict[str, str]:
        """The health of each target: `up`, `down` or `unknown` by its address."""
        return {one["labels"]["instance"]: one["health"] for one in self.get("targets")["activeTargets"]}

    def get(self, path: str, **parameters: object) -> Any:
        """The `data` of a call of its API."""
        fields = {name: str(value) for name, value in parameters.items()}
        try:
            answer = urllib3.request("GET", f"{self.url}/api/v1/{path}", fields=fields, timeout=30)
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(str(error)) from error
        if answer.status != 200:
            raise SetupError(f"Prometheus refused {parameters}: {answer.data.decode()}")
        return answer.json()["data"]


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
    configuration = {
        "global": dict.fromkeys(times, f"{scrape_seconds * 1000:.0f}ms"),
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
            for job, addresses in targets.items()
        ],
        "rule_files": [str(path) for path in rules],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]},
    }
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(configuration, indent=1))
    address = f"{ports.HOST}:{ports.free()}"
    command = [system_packages.program("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    ready, log = f"http://{address}/-/ready", folder / "prometheus.log"
    with server([*command, "--log.level=warn"], name="prometheus", ready=ready, log=log):
        yield Prometheus(f"http://{address}")


def server(
    command: Sequence[str], *, name: str, ready: str, log: Path, settings: Mapping[str, str] | None = None
) -> AbstractContextManager["Popen[bytes]"]:
    """A program of the monitoring from the moment that this address answers with 200. Raises SetupError."""

    def is_ready() -> bool:
        with suppress(urllib3.exceptions.HTTPError):
            return urllib3.request("GET", ready, retries=False, timeout=1).status == 200
        return False

    own = {**os.environ, **(settings or {})}
    return children.running(
        command, name=name, log=log, is_ready=is_ready, environment=own, stop_seconds=STOP_SECONDS
    )


def _series(data: Any) -> list[Series]:
    def points(pairs: Any) -> list[tuple[float, float]]:
        return [(float(at), float(value)) for at, value in pairs]

    if data["resultType"] in ("scalar", "string"):
        return [Series({}, points([data["result"]]))]
    return [Series(one["metric"], points(one.get("values") or [one["value"]])) for one in data["result"]]
