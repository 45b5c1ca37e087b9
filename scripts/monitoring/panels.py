"""Panels, rows and dashboards as data, and as the JSON that Grafana 12 reads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

COLUMNS = 24
SCHEMA_VERSION = 41
"""Of Grafana 12.1's dashboards."""
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Query:
    """One expression, and the legend of its series: `{{label}}` stands for a label's value."""

    expression: str
    legend: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A graph of its queries over time. `about` is a sentence for the person who looks at it.

    `unit` is Grafana's name of it. From each value of `thresholds` on, its colour applies; below the
    first one all is green.
    """

    title: str
    about: str
    queries: Sequence[Query]
    unit: str = "short"
    thresholds: Mapping[float, str] | None = None
    least: float | None = 0
    most: float | None = None
    is_stacked: bool = False
    width: int = 8
    height: int = 7

    type = "timeseries"

    def options(self) -> dict[str, Any]:
        legend = {"displayMode": "table", "placement": "bottom", "showLegend": True}
        return {
            "legend": legend | {"calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }

    def field(self) -> dict[str, Any]:
        """How values are drawn: lines that end where there is no value."""
        return {
            "fillOpacity": 30 if self.is_stacked else 8,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"group": "A", "mode": "normal" if self.is_stacked else "none"},
            "thresholdsStyle": {"mode": "line" if self.thresholds else "off"},
        }

    def target(self) -> dict[str, Any]:
        return {"range": True, "instant": False}

    def transformations(self) -> list[Any]:
        return []


@dataclass(frozen=True, kw_only=True)
class Stat(Panel):
    """The present value of each query as a number, in the colour of its threshold."""

    width: int = 4
    height: int = 4

    type = "stat"

    def options(self) -> dict[str, Any]:
        return {
            "colorMode": "background" if self.thresholds else "value",
            "graphMode": "none",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "value" if len(self.queries) == 1 else "value_and_name",
        }

    def field(self) -> dict[str, Any]:
        return {}

    def target(self) -> dict[str, Any]:
        """One moment: a mean of thirty days for each point of a graph would read too much."""
        return {"range": False, "instant": True}


@dataclass(frozen=True, kw_only=True)
class Table(Panel):
    """A row for each value of the label `key`, a column for each query: its legend, and its unit."""

    key: str
    units: Mapping[str, str]
    width: int = 24

    type = "table"

    def options(self) -> dict[str, Any]:
        return {"showHeader": True, "cellHeight": "sm"}

    def field(self) -> dict[str, Any]:
        return {"align": "auto", "filterable": False}

    def target(self) -> dict[str, Any]:
        return {"range": False, "instant": True, "format": "table"}

    def transformations(self) -> list[Any]:
        """All queries joined by the key, their values named by the legends."""
        names = {f"Value #{ref}": query.legend for ref, query in _named(self.queries)}
        columns = [self.key, *names]
        return [
            {"id": "joinByField", "options": {"byField": self.key, "mode": "outer"}},
            {"id": "filterFieldsByName", "options": {"include": {"names": columns}}},
            {"id": "organize", "options": {"renameByName": names}},
        ]


@dataclass(frozen=True)
class Row:
    """Panels below a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """What a person chooses at the top: any of the values that the label has in this metric."""

    name: str
    label: str
    metric: str

    @property
    def definition(self) -> str:
        return f"label_values({self.metric}, {self.label})"


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """One page of Grafana. Its name is part of its address and its file's name."""

    name: str
    title: str
    about: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()
    since: str = "now-1h"


def to_json(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard in Grafana's own format."""
    others = {"type": "dashboards", "title": "Firstcome", "tags": ["firstcome"], "asDropdown": True}
    return {
        "uid": f"firstcome-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["firstcome"],
        "timezone": "browser",
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": dashboard.since, "to": "now"},
        "schemaVersion": SCHEMA_VERSION,
        "links": [others | {"includeVars": True, "keepTime": True}],
        "templating": {"list": [_variable(one) for one in dashboard.variables]},
        "panels": list(_panels(dashboard.rows)),
    }


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Each row's heading and its panels, placed from left to right and then below one another."""
    ids, top = count(1), 0
    for row in rows:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": next(ids), "type": "row", "title": row.title, "collapsed": False, "gridPos": place} | {
            "panels": []
        }
        top, left, height = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield _panel(panel, next(ids), place)
            left, height = left + panel.width, max(height, panel.height)
        top += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.type,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": list(_overrides(panel))},
        "options": panel.options(),
        "targets": [
            {
                "refId": ref,
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": query.expression,
                "legendFormat": query.legend,
                **panel.target(),
            }
            for ref, query in _named(panel.queries)
        ],
        "transformations": panel.transformations(),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": GREEN, "value": None}]
    steps += [{"color": color, "value": value} for value, color in (panel.thresholds or {}).items()]
    limits = {"min": panel.least, "max": panel.most}
    return {
        "unit": panel.unit,
        **{name: value for name, value in limits.items() if value is not None},
        "thresholds": {"mode": "absolute", "steps": steps},
        "custom": panel.field(),
    }


def _overrides(panel: Panel) -> Iterator[dict[str, Any]]:
    units = panel.units if isinstance(panel, Table) else {}
    for column, unit in units.items():
        matcher = {"id": "byName", "options": column}
        yield {"matcher": matcher, "properties": [{"id": "unit", "value": unit}]}


def _named(queries: Sequence[Query]) -> Iterator[tuple[str, Query]]:
    """Each query with its letter."""
    return ((chr(ord("A") + number), query) for number, query in enumerate(queries))


def _variable(variable: Variable) -> dict[str, Any]:
    """A choice of several, of which all are chosen at first."""
    query = {"qryType": 1, "query": variable.definition, "refId": f"variable-{variable.name}"}
    return {
        "type": "query",
        "name": variable.name,
        "label": variable.name.capitalize(),
        "datasource": DATASOURCE,
        "definition": variable.definition,
        "query": query,
        "refresh": 2,
        "sort": 3,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "options": [],
        "regex": "",
        "hide": 0,
    }
