"""One table of all rows: each figure with its goal, and whether it is met."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.bench.rows import (
    OF_NULL,
    OF_PESSIMISTIC,
    OLDEST_WAITING,
    P95,
    PEAK,
    PER_SECOND,
    RATIOS,
    ROWS,
    SETTLED,
    WAITING,
    WAITING_CORES,
    WAITING_KIB,
    Goal,
)

Told = Mapping[str, Any]
"""A row as docs/bench.json has it."""
BESIDE = (
    "connections",
    WAITING,
    PER_SECOND,
    SETTLED,
    "p50_ms",
    P95,
    "max_ms",
    OF_NULL,
    OF_PESSIMISTIC,
    "command_mib",
)
"""What is told of a row where it has it, beside what there is a goal for."""
WIDEST = 62
"""Characters of a figure in a terminal."""
HEADER = ("work", "figure", "goal", "met")


def lines(rows: Sequence[Told]) -> Iterator[Sequence[str]]:
    """The cells of each line: a row takes one for its name and its figures without a goal, one for each goal,
    and one for what is to be said beside them."""
    for row in rows:
        yield ROWS[row["row"]].name, _beside(row), "", ""
        for goal in row["goals"]:
            yield "", _figure(row, goal["figure"]), _goal(goal), _met(goal)
        if row["says"]:
            yield "", row["says"], "", ""


def printed(rows: Sequence[Told]) -> str:
    """For a terminal."""
    cells = [HEADER, *(part for line in lines(rows) for part in _wrapped(line))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def markdown(rows: Sequence[Told]) -> str:
    """For a page."""
    cells = [HEADER, ["---"] * len(HEADER), *lines(rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def judged(row: str, figures: Mapping[str, float]) -> list[dict[str, Any]]:
    """The goals of a row, and whether these figures meet them."""
    return [_judged(goal, figures[goal.figure]) for goal in ROWS[row].goals]


def failures(rows: Sequence[Told]) -> list[str]:
    """Why the command fails: ratios below their goals, and whatever must not be. Absolute figures are the
    machine's, so missing one fails nothing."""
    missed = [
        f"{ROWS[row['row']].name}: {_figure(row, goal['figure'])}, and the goal is {_goal(goal)}"
        for row in rows
        for goal in row["goals"]
        if goal["is_ratio"] and not goal["is_met"]
    ]
    return missed + [finding for row in rows for finding in row["findings"]]


def _judged(goal: Goal, number: float) -> dict[str, Any]:
    return {
        "figure": goal.figure,
        "least": goal.least,
        "below": goal.below,
        "is_ratio": goal.is_ratio,
        "is_met": goal.is_met(number),
    }


def _beside(row: Told) -> str:
    having_goals = {goal["figure"] for goal in row["goals"]}
    return "; ".join(
        _figure(row, name) for name in BESIDE if name in row["figures"] and name not in having_goals
    )


def _wrapped(line: Sequence[str]) -> Iterator[Sequence[str]]:
    """The line, and where its figure is too wide for a terminal the rest of it below."""
    work, figure, goal, met = line
    first, *rest = textwrap.wrap(figure, WIDEST) or [""]
    yield work, first, goal, met
    for text in rest:
        yield "", text, "", ""


def _figure(row: Told, name: str) -> str:
    """With the bounds between which the rounds lay, where there were several."""
    text = _words(name, row["figures"][name])
    least, most = row["spread"].get(name, (0, 0))
    return (
        text
        if least == most or name == "max_ms"
        else f"{text} ({_number(name, least)} to {_number(name, most)})"
    )


def _goal(goal: Told) -> str:
    sign, bound = ("≥", goal["least"]) if goal["least"] is not None else ("<", goal["below"])
    return f"{sign} {_number(goal['figure'], bound)}"


def _met(goal: Told) -> str:
    if goal["is_met"]:
        return "yes"
    return "NO" if goal["is_ratio"] else "not here"


def _words(name: str, number: float) -> str:
    said = _number(name, number)
    if name in RATIOS:
        return f"{said} × {RATIOS[name]}"
    forms = {
        PER_SECOND: "{}/s",
        SETTLED: "{}/s settled",
        OLDEST_WAITING: "oldest waiting {} s",
        "p50_ms": "p50 {} ms",
        P95: "p95 {} ms",
        "max_ms": "longest {} ms",
        "seconds": "{} s",
        PEAK: "at most {} MiB each",
        "command_mib": "at most {} MiB",
        "connections": "{} connections",
        WAITING: "{} wait at once",
        WAITING_KIB: "{} KiB of the web processes each",
        WAITING_CORES: "{} of a core while they wait",
        "connections_share": "{} of the connections allowed",
        "coupon_microseconds": "{} µs of processor a coupon",
        "order_microseconds": "{} µs of processor an order",
    }
    return forms[name].format(said)


def _number(name: str, number: float) -> str:
    if name in {OLDEST_WAITING, WAITING_KIB} or name.endswith("_microseconds"):
        return f"{number:.1f}"
    is_share = name in RATIOS or name in {"connections_share", WAITING_CORES}
    return f"{number:.2f}" if is_share else f"{number:,.0f}"
