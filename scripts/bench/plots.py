"""The plots of docs/performance.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from scripts import drawing, places
from scripts.bench.results import Report
from scripts.drawing import LINES, STYLE

FOLDER = places.PROJECT / "docs" / "bench"
NAMES = {"null": "null endpoint", "coupon": "coupon, group_commit", "orders": "orders, 3 lines"}
NUMBER = StrMethodFormatter("{x:,g}")
Step = dict[str, Any]


def write(report: Report, *, folder: Path = FOLDER) -> None:
    """Draw what the report measured over buyers, and over the size of the table."""
    with pyplot.rc_context(STYLE):
        _by_buyers(report["buyers"], folder / "buyers.svg")
        _by_table(report["tables"], folder / "table.svg")


def _by_buyers(steps: Sequence[Step], path: Path) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.2, 3.2))
    for (name, label), colour in zip(NAMES.items(), LINES, strict=False):
        mine = [step for step in steps if step["load"] == name]
        vus = [step["vus"] for step in mine]
        for axes, of in ((left, "per_second"), (right, "p95_ms")):
            axes.plot(vus, [step[of] for step in mine], marker="o", markersize=3, color=colour, label=label)
    for axes in (left, right):
        axes.set_xscale("log")
        vus = sorted({step["vus"] for step in steps})
        axes.set_xticks(vus, [f"{number:,}" for number in vus])
        axes.minorticks_off()
    _from_zero(left, "answers a second, by buyers at once")
    right.set_yscale("log")
    right.yaxis.set_major_formatter(NUMBER)
    right.set_title("p95 in ms", fontsize=9)
    left.legend(frameon=False)
    drawing.write(figure, path)


def _by_table(steps: Sequence[Step], path: Path) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.2, 2.8))
    millions = [step["coupons"] / 1_000_000 for step in steps]
    for axes, of, title in (
        (left, "per_second", "coupons a second, by millions in the table"),
        (right, "of_null", "the same × null in that moment"),
    ):
        axes.plot(millions, [step[of] for step in steps], marker="o", markersize=3, color=LINES[0])
        _from_zero(axes, title)
    drawing.write(figure, path)


def _from_zero(axes: Axes, title: str) -> None:
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(NUMBER)
    axes.set_title(title, fontsize=9)
