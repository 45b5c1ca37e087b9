"""Plots of the report as SVG that lies in the page itself: no script, no network, light and dark alike."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot
from matplotlib.axes import Axes

from scripts.bench import drawing
from scripts.bench.drawing import INK
from scripts.lab.results import Row
from scripts.lab.tables import label

BY_CALLERS = {"per_second": "answers a second, by callers", "p95_ms": "p95 in ms, by callers"}
SPEED, DELAY, WRONG = "#3b82c4", "#d08a2e", "#c4483b"


def all_of(rows: Sequence[Row]) -> Mapping[str, str]:
    """The SVG of each scenario, by its name; beside them `wrong` where the control got something wrong."""
    drawn: dict[str, str] = {}
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        some = [row for row in rows if row["scenario"] == scenario]
        drawn[scenario] = _of_steps(some) if some[0]["steps"] else _of_scenario(some)
    if controls := [row for row in rows if row["is_control"] and row["wrong"]]:
        drawn["wrong"] = _of_wrong_rows(controls)
    return drawn


def _of_scenario(rows: Sequence[Row]) -> str:
    """Throughput and p95 of each row side by side."""
    figure, (left, right) = pyplot.subplots(1, 2, sharey=True, figsize=(7.2, 0.8 + 0.3 * len(rows)))
    names = [label(row) for row in rows]
    _bars(left, names, [row["per_second"] for row in rows], SPEED, "callers served a second")
    _bars(right, names, [row["settled_p95_ms"] for row in rows], DELAY, "p95 until known, in ms")
    left.invert_yaxis()
    return drawing.inline(figure)


def _of_steps(rows: Sequence[Row]) -> str:
    """Throughput and p95 over the number of callers, a line a strategy."""
    lines = {label(row): row["steps"] for row in rows}
    return drawing.inline(drawing.side_by_side(lines, "vus", BY_CALLERS, height=3.4))


def _of_wrong_rows(rows: Sequence[Row]) -> str:
    """Wrong rows of each kind, in each scenario that the control ran in."""
    kinds = [(f"{row['scenario']}: {kind}", number) for row in rows for kind, number in row["wrong"].items()]
    figure, axes = pyplot.subplots(figsize=(7.2, 0.8 + 0.35 * len(kinds)))
    _bars(axes, [name for name, _ in kinds], [number for _, number in kinds], WRONG, "wrong rows")
    axes.invert_yaxis()
    return drawing.inline(figure)


def _bars(axes: Axes, names: Sequence[str], numbers: Sequence[float], colour: str, title: str) -> None:
    # By place rather than by name: names may come twice.
    places = range(len(names))
    drawn = axes.barh(places, numbers, color=colour, height=0.7)
    axes.set_yticks(places, names)
    axes.bar_label(drawn, [f"{number:,.0f}" for number in numbers], padding=3, color=INK)
    axes.margins(x=0.18)
    axes.set_title(title)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
