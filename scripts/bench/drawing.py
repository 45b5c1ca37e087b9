"""Plots as SVG that needs no script and no network: in the colours of the page around it, or as a file."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.stack import places

Step = dict[str, Any]
INK = "#010203"
"""Stands for the page's own colour of text until the SVG is in the page."""
LINES: tuple[str, ...] = ("#3b82c4", "#d08a2e", "#4c9f70", "#c4483b", "#8f6bb3")
LINES += ("#2f9aa0", "#b5609a", "#8a8a3a", "#7a7a7a", "#5566cc")
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "firstcome",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **{f"{name}.color": INK for name in ("text", "xtick", "ytick")},
    **{f"axes.{name}": INK for name in ("edgecolor", "labelcolor")},
}


def line(axes: Axes, steps: Sequence[Step], x: str, y: str, *, colour: str, label: str = "") -> None:
    """A figure of the steps over another."""
    xs, ys = [step[x] for step in steps], [step[y] for step in steps]
    axes.plot(xs, ys, marker="o", markersize=3, color=colour, label=label)


def legend_below(figure: Figure, axes: Axes, *, columns: int, bottom: float) -> None:
    """One legend for all axes, below them, where it covers no line."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, ncols=columns, loc="lower center", frameon=False, labelcolor=INK)
    figure.subplots_adjust(bottom=bottom)


def inline(figure: Figure) -> str:
    """The figure's SVG element, in the colours of whatever page it is put into."""
    text = _svg(figure, transparent=True)
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # The page says how wide; the view box keeps the proportions.
    head, end, rest = text.partition(">")
    return re.sub(r' (?:width|height)="[^"]*"', "", head) + end + rest


def write(figure: Figure, path: Path) -> None:
    """Write the figure as a file on a ground of its own, which a dark page leaves readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    places.write_whole(path, _svg(figure, transparent=False).rstrip() + "\n")


def _svg(figure: Figure, *, transparent: bool) -> str:
    written = io.StringIO()
    look: Any = {"transparent": transparent, "bbox_inches": "tight", "metadata": {"Date": None}}
    figure.savefig(written, format="svg", **look)
    pyplot.close(figure)
    return re.sub(r"<metadata>.*?</metadata>", "", written.getvalue(), flags=re.DOTALL)
