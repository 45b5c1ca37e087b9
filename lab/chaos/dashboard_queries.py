"""The queries of the dashboards in ops/grafana, as Grafana sends them to Prometheus; and a Prometheus beside
a trial, which has to have data for each."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from scripts.stack import places
from scripts.stack.instance import Instance
from scripts.stack.programs import exporters, prometheus
from scripts.stack.programs.prometheus import Prometheus

OPS = places.PROJECT / "ops"
MOST_POINTS = 500
"""Of each series in a panel of usual width."""
SCRAPE_SECONDS, PATIENCE_SECONDS = 2.0, 60
"""How long what a sweep or an audit makes may be late."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The time that a dashboard shows, in seconds since 1970, and how often targets are scraped."""

    start: float
    end: float
    scrape_seconds: float

    @property
    def step(self) -> float:
        """`$__interval`: the seconds between two points."""
        return max(self.scrape_seconds, (self.end - self.start) / MOST_POINTS)

    def values(self) -> dict[str, str]:
        """Of Grafana's own variables."""
        rate_interval = max(self.step + self.scrape_seconds, 4 * self.scrape_seconds)
        found = {"interval": self.step, "rate_interval": rate_interval, "range": self.end - self.start}
        return {f"__{name}": f"{seconds * 1000:.0f}ms" for name, seconds in found.items()}


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One expression of a panel, with the names to find it by. A variable's query has its name as panel."""

    dashboard: str
    panel: str
    expression: str

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.panel}: {self.expression}"


def dashboards() -> list[dict[str, Any]]:
    """Every dashboard in the folder."""
    folder = OPS / "grafana" / "dashboards"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def queries(dashboard: dict[str, Any]) -> Iterator[PanelQuery]:
    """The queries of its panels, as they are written."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield PanelQuery(dashboard["title"], panel["title"], target["expr"])


def expression_of(query: PanelQuery, dashboard: dict[str, Any], span: Span) -> str:
    """What Grafana sends: the query's expression with a value for each variable."""
    values = span.values() | {one["name"]: one["allValue"] for one in dashboard["templating"]["list"]}
    expression = query.expression
    # A longer name first: it may begin with a shorter one.
    for name in sorted(values, key=len, reverse=True):
        expression = expression.replace(f"${name}", values[name])
    return expression


def without_data(found: Prometheus, dashboard: dict[str, Any], span: Span) -> Iterator[PanelQuery]:
    """The queries without a single number in that time, and the variables without a value to choose."""
    for query in queries(dashboard):
        expression = expression_of(query, dashboard, span)
        series = found.query_range(expression, start=span.start, end=span.end, step=span.step)
        # NaN, the quantile of nothing, is the only number that is not itself.
        if not any(value == value for one in series for _, value in one.points):
            yield query
    for variable in dashboard["templating"]["list"]:
        metric, label = variable["definition"].removeprefix("label_values(").rstrip(")").split(", ")
        if not found.get(f"label/{label}/values", **{"match[]": metric}):
            yield PanelQuery(dashboard["title"], f"the variable {variable['name']}", variable["definition"])


@contextmanager
def beside(instance: Instance) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the stack, with MariaDB, and its exporters, by the recording rules.
    Raises SetupError."""
    folder, rules = instance.home / "prometheus", [OPS / "prometheus" / "recording.yml"]
    with exporters.running(instance, folder) as of_servers:
        targets = {**instance.metrics_targets(), **of_servers}
        with prometheus.running(folder, targets=targets, rules=rules, scrape_seconds=SCRAPE_SECONDS) as found:
            yield found


def empty_queries(found: Prometheus, *, since: float) -> Iterator[str]:
    """Each query of a dashboard that has no data since then (in seconds since 1970). Prints how many have."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for dashboard in dashboards():
        while True:
            span = Span(start=since, end=time.time(), scrape_seconds=SCRAPE_SECONDS)
            empty = list(without_data(found, dashboard, span))
            if not empty or time.monotonic() > deadline:
                break
            time.sleep(SCRAPE_SECONDS)
        count = len(list(queries(dashboard)))
        says = f"{count - len(empty)} of {count} queries have data"
        print(f"dashboard {dashboard['title']}: {says}", flush=True)
        yield from (f"dashboard query without data: {query}" for query in empty)
