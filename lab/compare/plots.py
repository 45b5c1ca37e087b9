"""Plots of the report as SVG that lies in the page itself: no script, no network, light and dark alike."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot
from matplotlib.axes import Axes

from lab.bench.report import drawing
from lab.bench.report.drawing import COLOURS, INK
from lab.compare.panels import PANELS
from lab.compare.results import Row
from lab.compare.tables import label

BY_CALLERS = {"per_second": "answers a second, by callers", "p95_ms": "p95 in ms, by callers"}
NOTHING = float("nan")
SPEED, DELAY, WRONG = "#3b82c4", "#d08a2e", "#c4483b"


def all_of(rows: Sequence[Row]) -> Mapping[str, str]:
    """The SVG of each scenario and ramp, by its name; beside them `wrong` where the control got something
    wrong."""
    drawn: dict[str, str] = {}
    drawn |= {name_of_ramp(row): _of_ramp(row) for row in rows if "wall" in row}
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


def name_of_ramp(row: Row) -> str:
    """What the plot of this row's ramp is called."""
    return f"{row['scenario']}, {label(row)}"


def _of_ramp(row: Row) -> str:
    """Buyers, times, and every panel that has values, over the same seconds."""
    series = row["series"]
    some = [panel for panel in PANELS if panel.name in series["panels"]]
    figure, axes = pyplot.subplots(
        len(some) + 2, 1, sharex=True, figsize=(7.2, 1.15 * (len(some) + 2)), layout="constrained"
    )
    _steps(axes[0], row, {"vus": "buyers"}, "buyers")
    _steps(axes[1], row, {f"p{number}_ms": f"p{number}" for number in (50, 95, 99)}, "time until known, ms")
    axes[1].axhline(row["slowest_p95_ms"], color=WRONG, linewidth=0.8, linestyle="--", label="bound of p95")
    for one, panel in zip(axes[2:], some, strict=True):
        for (name, values), colour in zip(_largest(series["panels"][panel.name]), COLOURS, strict=False):
            at = [index * series["every"] for index in range(len(values))]
            one.plot(at, [NOTHING if value is None else value for value in values], color=colour, label=name)
        one.set_title(panel.title, loc="left")
    for one in axes:
        one.set_xlim(left=0)
        one.set_ylim(bottom=0)
        one.yaxis.set_major_formatter(drawing.NUMBER)
        one.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7, labelcolor=INK)
        _shade(one, row)
    axes[-1].set_xlabel("seconds since the start")
    return drawing.inline(figure)


def _steps(axes: Axes, row: Row, names: Mapping[str, str], title: str) -> None:
    """A level line over the judged seconds of each step."""
    for (name, says), colour in zip(names.items(), COLOURS, strict=False):
        levels = [step[name] for step in row["steps"]]
        begin, end = zip(*_judged(row), strict=True)
        axes.hlines(levels, begin, end, color=colour, linewidth=2, label=says)
    axes.set_title(title, loc="left")


def _shade(axes: Axes, row: Row) -> None:
    """Mark the judged seconds of each step."""
    for begin, end in _judged(row):
        axes.axvspan(begin, end, color=INK, alpha=0.06, linewidth=0)


def _judged(row: Row) -> list[tuple[float, float]]:
    start = row["series"]["start"]
    return [(step["from"] - start, step["to"] - start) for step in row["steps"]]


def _largest(lines: Mapping[str, Sequence[float | None]]) -> list[tuple[str, Sequence[float | None]]]:
    """The largest line first."""
    return sorted(lines.items(), key=lambda line: -max((value for value in line[1] if value), default=0))


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
