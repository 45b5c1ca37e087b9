"""Plots as SVG that needs no script and no network: in the colours of the page around it, or as a file."""

import io
import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.figure import Figure

from scripts import places

INK = "#010203"
"""Stands for the page's own colour of text until the SVG is in the page."""
LINES = (
    "#3b82c4",
    "#d08a2e",
    "#4c9f70",
    "#c4483b",
    "#8f6bb3",
    "#2f9aa0",
    "#b5609a",
    "#8a8a3a",
    "#7a7a7a",
    "#5566cc",
)
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


def inline(figure: Figure) -> str:
    """The figure's SVG element, in the colours of whatever page it is put into."""
    text = _svg(figure, transparent=True)
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # The page says how wide; the view box keeps the proportions.
    return re.sub(
        r'<svg([^>]*?) height="[^"]*"([^>]*?) width="[^"]*"|<svg([^>]*?) width="[^"]*" height="[^"]*"',
        r"<svg\1\2\3",
        text,
        count=1,
    )


def write(figure: Figure, path: Path) -> None:
    """Write the figure as a file on a ground of its own, which a dark page leaves readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    places.write_whole(path, _svg(figure, transparent=False).rstrip() + "\n")


def _svg(figure: Figure, *, transparent: bool) -> str:
    written = io.StringIO()
    figure.savefig(
        written, format="svg", transparent=transparent, bbox_inches="tight", metadata={"Date": None}
    )
    pyplot.close(figure)
    return re.sub(r"<metadata>.*?</metadata>", "", written.getvalue(), flags=re.DOTALL)
