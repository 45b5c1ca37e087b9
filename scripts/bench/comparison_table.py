"""The table of two commits side by side, for a terminal and for a page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.bench.comparison import OTHER, THIS, Compared, goal_text
from scripts.bench.measured import ratio

HEADER = ("work", "figure", "this", "other", "this / other", "goal", "met")


def lines(rows: Sequence[Compared]) -> Iterator[Sequence[str]]:
    """The cells of each line: one for each figure, and one for the processor time of each row."""
    for row in rows:
        name = row["name"]
        for figure in row["figures"]:
            digits = figure["digits"]
            yield (
                name,
                figure["label"],
                _spread(figure[THIS], digits),
                _spread(figure[OTHER], digits),
                _spread(figure["ratio"], 2) if figure["ratio"] else "",
                goal_text(figure["goal"]) if figure["goal"] else "",
                _met(figure["goal"]),
            )
            name = ""
        this, other = row["microseconds"][THIS], row["microseconds"][OTHER]
        for process in this:
            quotient = f"{ratio(this[process], other[process]):.2f}"
            yield "", f"{process}, µs each", f"{this[process]:,}", f"{other[process]:,}", quotient, "", ""


def printed(rows: Sequence[Compared]) -> str:
    """For a terminal, the name of each row above its figures."""
    cells = [HEADER, *lines(rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(1, len(HEADER))]
    printed = []
    for name, *figures in cells:
        padded = (cell.ljust(width) for cell, width in zip(figures, widths, strict=True))
        printed += [name] if name else []
        printed.append(f"  {'  '.join(padded)}".rstrip())
    return "\n".join(printed)


def markdown(rows: Sequence[Compared]) -> str:
    """For a page."""
    cells = [HEADER, ["---"] * len(HEADER), *lines(rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _spread(told: Mapping[str, Any], digits: int) -> str:
    """The number, with the bounds between which the rounds lay, where these differ."""
    number, least, most = (f"{told[name]:,.{digits}f}" for name in ("value", "least", "most"))
    return number if least == most else f"{number} ({least} to {most})"


def _met(goal: Mapping[str, Any] | None) -> str:
    return "" if goal is None else "yes" if goal["is_met"] else "NO"
