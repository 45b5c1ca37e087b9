"""The queries of the dashboards in ops/grafana, as Grafana sends them to Prometheus."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.stack import places
from scripts.stack.programs.prometheus import Prometheus

FOLDER = places.PROJECT / "ops" / "grafana" / "dashboards"
SCRAPES_IN_RATE = 4
"""The least scrapes that `$__rate_interval` spans."""
MOST_POINTS = 500
"""Of each series in a panel of usual width."""


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

    @property
    def rate_interval(self) -> float:
        """`$__rate_interval` in seconds."""
        return max(self.step + self.scrape_seconds, SCRAPES_IN_RATE * self.scrape_seconds)


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
    return [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]


def queries(dashboard: dict[str, Any]) -> Iterator[PanelQuery]:
    """The queries of its panels, as they are written."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield PanelQuery(dashboard["title"], panel["title"], target["expr"])


def expression_of(query: PanelQuery, dashboard: dict[str, Any], span: Span) -> str:
    """What Grafana sends: the query's expression with a value for each variable."""
    values = {"__rate_interval": _duration(span.rate_interval), "__interval": _duration(span.step)}
    values["__range"] = _duration(span.end - span.start)
    values |= {one["name"]: one["allValue"] for one in dashboard["templating"]["list"]}
    expression = query.expression
    # A longer name first: it may begin with a shorter one.
    for name in sorted(values, key=len, reverse=True):
        expression = expression.replace(f"${name}", values[name])
    return expression


def without_data(prometheus: Prometheus, dashboard: dict[str, Any], span: Span) -> Iterator[PanelQuery]:
    """The queries without a single number in that time, and the variables without a value to choose."""
    for query in queries(dashboard):
        series = prometheus.query_range(
            expression_of(query, dashboard, span), start=span.start, end=span.end, step=span.step
        )
        # NaN, the quantile of nothing, is the only number that is not itself.
        if not any(value == value for one in series for _, value in one.points):
            yield query
    for variable in dashboard["templating"]["list"]:
        metric, label = variable["definition"].removeprefix("label_values(").rstrip(")").split(", ")
        if not prometheus.get(f"label/{label}/values", **{"match[]": metric}):
            yield PanelQuery(dashboard["title"], f"the variable {variable['name']}", variable["definition"])


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"
