"""What watches a stack: Debian's Prometheus and exporters, each a program on a free port of loopback; and the
queries of the dashboards in ops/grafana, as Grafana sends them."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lab.calls import Findings
from scripts.stack import Json, Lines, SetupError, Words, children, places, ports, system_packages, waiting
from scripts.stack.children import say
from scripts.stack.instance import Instance
from scripts.stack.mariadb import USER

OPS = places.PROJECT / "ops"
SCRAPE_SECONDS = 2.0
PATIENCE_SECONDS = 60  # Between two scrapes; and how late may be what a sweep or an audit makes


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
        given = {name: text.replace("{port}", str(port)) for name, text in environment.items()}
        self.started = partial(
            children.running,
            own,
            name=log.stem,
            log=log,
            is_ready=is_ready if page else (ports.HOST, port),
            environment=os.environ | given,
            stop_seconds=20,
        )
        self.child = self.enter_context(self.started())

    @contextmanager
    def away(self) -> Iterator[None]:
        self.close()
        try:
            yield
        finally:
            self.enter_context(self.started())


def of_redis(instance: Instance, folder: Path) -> Program:
    words = [system_packages.program("prometheus-redis-exporter"), "-web.listen-address={address}"]
    return Program(
        folder / "redis-exporter.log", *words, page="/", REDIS_ADDR=f"unix://{instance.redis_socket}"
    )


def of_mariadb(instance: Instance, folder: Path, *options: str) -> Program:
    # In a file, which other users of the machine can not read, and all releases of the exporter do.
    account = folder / "mysqld-exporter.cnf"
    password = instance.mariadb().password
    text = f"[client]\nuser = {USER}\npassword = {password}\nsocket = {instance.mariadb_socket}\n"
    places.write_whole(account, text, mode=0o600)
    program = system_packages.program("prometheus-mysqld-exporter")
    words = [program, "--web.listen-address={address}", f"--config.my-cnf={account}", *options]
    return Program(folder / "mysqld-exporter.log", *words, page="/")


@dataclass(frozen=True)
class Prometheus:
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


def _static(addresses: Sequence[str]) -> list[dict[str, list[str]]]:
    return [{"targets": [*addresses]}]


@contextmanager
def running(
    folder: Path,
    *,
    targets: Mapping[str, Words],
    rules: Sequence[Path] = (),
    alertmanagers: Words = (),
    scrape_seconds: float = 1,
) -> Iterator[Prometheus]:
    """One that scrapes `/metrics` of each job's targets and evaluates the rules. Raises SetupError."""
    folder.mkdir(parents=True, exist_ok=True)
    times = ("scrape_interval", "scrape_timeout", "evaluation_interval")
    jobs = [{"job_name": job, "static_configs": _static(of)} for job, of in targets.items()]
    configuration = {
        "global": dict.fromkeys(times, f"{scrape_seconds * 1000:.0f}ms"),
        "scrape_configs": jobs,
        "rule_files": [str(path) for path in rules],
        "alerting": {"alertmanagers": [{"static_configs": _static(alertmanagers)}]},
    }
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(configuration, indent=1))
    words = [
        system_packages.program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address={address}",
        "--log.level=warn",
    ]
    with Program(folder / "prometheus.log", *words, page="/-/ready") as program:
        yield Prometheus(program.address)


def dashboards() -> list[Json]:
    return [json.loads(path.read_text()) for path in sorted((OPS / "grafana/dashboards").glob("*.json"))]


def queries(dashboard: Json, seconds: float) -> Iterator[tuple[str, str]]:
    """Each panel's title, with an expression as Grafana sends it to show so many seconds."""
    times = {"interval": SCRAPE_SECONDS, "rate_interval": 4 * SCRAPE_SECONDS, "range": seconds}
    values = {f"__{name}": f"{seconds * 1000:.0f}ms" for name, seconds in times.items()}
    values |= {one["name"]: one["allValue"] for one in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], re.sub(r"\$(\w+)", lambda name: values[name[1]], target["expr"])


@contextmanager
def beside(instance: Instance) -> Iterator[Prometheus]:
    """One that scrapes the stack and its exporters, by the recording rules. Raises SetupError."""
    folder = instance.home / "prometheus"
    rules = [OPS / "prometheus/recording.yml"]
    folder.mkdir()
    with of_redis(instance, folder) as redis, of_mariadb(instance, folder) as mysql:
        targets = instance.metrics_targets() | {"redis": [redis.address], "mysql": [mysql.address]}
        with running(folder, targets=targets, rules=rules, scrape_seconds=SCRAPE_SECONDS) as found:
            yield found


def empty_queries(found: Prometheus, since: float) -> Findings:
    """Each query without a number since then (in seconds since 1970), and each variable without a value."""
    for board in dashboards():
        look = partial(_empty, found, board, since)
        empty = waiting.left(look, within_seconds=PATIENCE_SECONDS, pause_seconds=SCRAPE_SECONDS)
        count = len(list(queries(board, 1)))
        say(f"dashboard {board['title']}: {count - len(empty)} of {count} queries have data")
        for query in empty:
            yield f"dashboard query without data: {board['title']} / {query}"


def _empty(found: Prometheus, board: Json, since: float) -> Lines:
    now = time.time()
    empty = Lines()
    for panel, expression in queries(board, now - since):
        series = found.get("query_range", query=expression, start=since, end=now, step=SCRAPE_SECONDS)
        # NaN is the quantile of nothing.
        if all(value == "NaN" for one in series["result"] for _, value in one["values"]):
            empty.append(f"{panel}: {expression}")
    for variable in board["templating"]["list"]:
        metric, label = re.findall(r"\w+", variable["definition"])[1:]
        if not found.get(f"label/{label}/values", **{"match[]": metric}):
            empty.append(f"the variable {variable['name']}: {variable['definition']}")
    return empty
