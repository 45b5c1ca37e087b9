"""The queries of the dashboards in ops/grafana, as Grafana sends them to Prometheus; and a Prometheus beside
a soak, which has to have data for each."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.stack import prometheus
from lab.stack.prometheus import Prometheus
from scripts.stack import places, waiting
from scripts.stack.instance import Instance

OPS = places.PROJECT / "ops"
SCRAPE_SECONDS = 2.0
PATIENCE_SECONDS = 60
"""How long what a sweep or an audit makes may be late."""


def dashboards() -> list[dict[str, Any]]:
    """Every dashboard in the folder."""
    folder = OPS / "grafana" / "dashboards"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def queries(dashboard: dict[str, Any], seconds: float) -> Iterator[tuple[str, str]]:
    """The title of each panel, with an expression as Grafana sends it to show so long: a value for each
    variable. There is a point at each scrape, as in a panel of usual width of up to 1,000 s."""
    times = {"interval": SCRAPE_SECONDS, "rate_interval": 4 * SCRAPE_SECONDS, "range": seconds}
    values = {f"__{name}": f"{seconds * 1000:.0f}ms" for name, seconds in times.items()}
    values |= {one["name"]: one["allValue"] for one in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            # A longer name first: it may begin with a shorter one.
            for name in sorted(values, key=len, reverse=True):
                expression = expression.replace(f"${name}", values[name])
            yield panel["title"], expression


@contextmanager
def beside(instance: Instance) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the stack, with MariaDB, and its exporters, by the recording rules.
    Raises SetupError."""
    folder, rules = instance.home / "prometheus", [OPS / "prometheus" / "recording.yml"]
    folder.mkdir()
    with prometheus.of_redis(instance, folder) as redis, prometheus.of_mariadb(instance, folder) as mysql:
        targets = instance.metrics_targets() | {"redis": [redis.address], "mysql": [mysql.address]}
        with prometheus.running(folder, targets=targets, rules=rules, scrape_seconds=SCRAPE_SECONDS) as found:
            yield found


def without_data(found: Prometheus, dashboard: dict[str, Any], since: float) -> Iterator[str]:
    """The queries without a single number since then (in seconds since 1970), and the variables without a
    value to choose."""
    now = time.time()
    for panel, expression in queries(dashboard, now - since):
        times = {"start": since, "end": now, "step": SCRAPE_SECONDS}
        series = found.get("query_range", query=expression, **times)["result"]
        # NaN is the quantile of nothing.
        if all(value == "NaN" for one in series for _, value in one["values"]):
            yield f"{panel}: {expression}"
    for variable in dashboard["templating"]["list"]:
        metric, label = variable["definition"].removeprefix("label_values(").rstrip(")").split(", ")
        if not found.get(f"label/{label}/values", **{"match[]": metric}):
            yield f"the variable {variable['name']}: {variable['definition']}"


def empty_queries(found: Prometheus, since: float) -> Iterator[str]:
    """The same of every dashboard, once what comes late is there. Prints how many have data."""
    for board in dashboards():
        look = lambda: list(without_data(found, board, since))  # noqa: B023, E731
        empty = waiting.left(look, within_seconds=PATIENCE_SECONDS, pause_seconds=SCRAPE_SECONDS)
        count = len(list(queries(board, 1)))
        print(f"dashboard {board['title']}: {count - len(empty)} of {count} queries have data", flush=True)
        yield from (f"dashboard query without data: {board['title']} / {query}" for query in empty)
