"""The queries of the dashboards in ops/grafana, as Grafana sends them to Prometheus; and a Prometheus beside
a soak, which has to have data for each."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.stack import exporters, prometheus
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


def interval(seconds: float, scrape_seconds: float = SCRAPE_SECONDS) -> float:
    """`$__interval`: the seconds between two of 500 points in a panel of usual width that shows so long."""
    return max(scrape_seconds, seconds / 500)


def queries(
    dashboard: dict[str, Any], seconds: float, scrape_seconds: float = SCRAPE_SECONDS
) -> Iterator[tuple[str, str]]:
    """The title of each panel, with an expression as Grafana sends it: a value for each variable."""
    step = interval(seconds, scrape_seconds)
    rate_interval = max(step + scrape_seconds, 4 * scrape_seconds)
    times = {"interval": step, "rate_interval": rate_interval, "range": seconds}
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
    with exporters.running(instance, folder) as of_servers:
        targets = {**instance.metrics_targets(), **of_servers}
        with prometheus.running(folder, targets=targets, rules=rules, scrape_seconds=SCRAPE_SECONDS) as found:
            yield found


def without_data(found: Prometheus, dashboard: dict[str, Any], since: float) -> Iterator[str]:
    """The queries without a single number since then (in seconds since 1970), and the variables without a
    value to choose."""
    now = time.time()
    for panel, expression in queries(dashboard, now - since):
        series = found.query_range(expression, start=since, end=now, step=interval(now - since))
        # NaN, the quantile of nothing, is the only number that is not itself.
        if not any(value == value for one in series for _, value in one.points):
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
