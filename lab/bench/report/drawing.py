"""Plots as SVG that needs no script and no network: in the colours of the page around it, or as a file."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from scripts.stack import places

Steps = Sequence[Mapping[str, Any]]
INK = "#010203"
"""Stands for the page's own colour of text until the SVG is in the page."""
COLOURS: tuple[str, ...] = ("#3b82c4", "#d08a2e", "#4c9f70", "#c4483b", "#8f6bb3")
COLOURS += ("#2f9aa0", "#b5609a", "#8a8a3a", "#7a7a7a", "#5566cc")
NUMBER = StrMethodFormatter("{x:,g}")
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "firstcome",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **{f"{name}.color": INK for name in ("text", "xtick", "ytick")},
    **{f"axes.{name}": INK for name in ("edgecolor", "labelcolor")},
}
pyplot.rcParams.update(STYLE)


def side_by_side(
    lines: Mapping[str, Steps], x: str, titles: Mapping[str, str], *, height: float, is_log: bool = False
) -> Figure:
    """Two figures of each line's steps over `x`, by their names, with the titles above them. One legend is
    below both, where it covers no line. If `is_log`, `x` and the right one have logarithmic axes."""
    figure, both = pyplot.subplots(1, 2, figsize=(7.2, height), layout="constrained")
    for axes, (name, title) in zip(both, titles.items(), strict=True):
        for (label, steps), colour in zip(lines.items(), COLOURS * 3, strict=False):
            xs, ys = [step[x] for step in steps], [step[name] for step in steps]
            axes.plot(xs, ys, marker="o", markersize=3, color=colour, label=label)
        axes.set_title(title)
        axes.margins(y=0.1)
        if is_log:
            ticks = sorted({step[x] for steps in lines.values() for step in steps})
            axes.set_xscale("log")
            axes.set_xticks(ticks, [f"{number:,}" for number in ticks])
            axes.minorticks_off()
        if is_log and axes is both[1]:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(NUMBER)
    if len(lines) > 1:
        handles, names = both[0].get_legend_handles_labels()
        figure.legend(handles, names, ncols=4, loc="outside lower center", frameon=False, labelcolor=INK)
    return figure


def inline(figure: Figure) -> str:
    """The figure's SVG element, in the colours of the page that it is put into."""
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
    text = re.sub(r"<metadata>.*?</metadata>", "", written.getvalue(), flags=re.DOTALL)
    # A hundredth of a point is enough, and matplotlib's millionths are half of the file.
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
