"""The series of a ramp over one time axis, as `panels.toml` declares them, and their means over a step."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from scripts.stack.programs.prometheus import Prometheus, Series

MOST_POINTS = 100
OTHERS = "k6 and others"
"""The line of processor time that no process of the stack took."""
Means = Mapping[str, Mapping[str, float]]
"""The mean of each line, by panel and line."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """`queries` are by the name of their line, in which `{label}` stands for a label."""

    name: str
    title: str
    is_drawn: bool
    queries: Mapping[str, str]


def _panel(name: str, words: Mapping[str, Any]) -> Panel:
    queries = {line: query for line, query in words.items() if line not in ("title", "hidden")}
    return Panel(name=name, title=words.get("title", ""), is_drawn=not words.get("hidden"), queries=queries)


PANELS = [
    _panel(name, words)
    for name, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text()).items()
]


def fetch(prometheus: Prometheus, *, start: float, end: float) -> dict[str, Any]:
    """All panels from `start` to `end` (seconds since 1970): a value every `every` seconds, or None."""
    every = max(1, math.ceil((end - start) / MOST_POINTS))
    found: dict[str, dict[str, list[float | None]]] = {}
    for panel in PANELS:
        lines = found.setdefault(panel.name, {})
        for name, query in panel.queries.items():
            for one in prometheus.query_range(query, start=start, end=end, step=every):
                count = int((end - start) / every) + 1
                lines[name.format_map(one.labels)] = _values(one, start=start, every=every, count=count)
    return {"start": round(start, 1), "every": every, "panels": found}


def drawn(series: Mapping[str, Any]) -> dict[str, Any]:
    """What the report keeps of the series: panels with values, and their lines that ever are above zero, or
    one of them."""
    kept: dict[str, Any] = {}
    for panel in PANELS:
        lines = series["panels"].get(panel.name, {})
        if panel.is_drawn and lines:
            kept[panel.name] = {name: values for name, values in lines.items() if any(values)} or dict(
                list(lines.items())[:1]
            )
    return {**series, "panels": kept}


def _values(series: Series, *, start: float, every: float, count: int) -> list[float | None]:
    values: list[float | None] = [None] * count
    for at, value in series.points:
        if math.isfinite(value):
            values[round((at - start) / every)] = float(f"{value:.4g}")
    return values


def means(series: Mapping[str, Any], *, start: float, end: float) -> Means:
    """Of every line from `start` to `end`; a line without a value in it is left out."""
    start, end = ((instant - series["start"]) / series["every"] for instant in (start, end))
    within = slice(max(0, math.ceil(start)), max(0, math.floor(end)) + 1)
    return {
        panel: {line: fmean(known) for line, values in lines.items() if (known := _known(values[within]))}
        for panel, lines in series["panels"].items()
    }


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
