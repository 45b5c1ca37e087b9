"""One table of all rows: each figure with its goal, and whether it is met."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.bench import documents
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
)

Told = Mapping[str, Any]
"""A row as docs/bench.json has it."""
BESIDE: tuple[str, ...] = (
    "connections",
    WAITING,
    PER_SECOND,
    SETTLED,
    "p50_ms",
    P95,
    "max_ms",
    OF_NULL,
    OF_PESSIMISTIC,
)
BESIDE += ("command_mib",)
"""What is told of a row where it has it, beside what there is a goal for."""
WIDEST = 62
"""Characters of a figure in a terminal."""
HEADER = ("work", "figure", "goal", "met")
FORMS = {
    PER_SECOND: "{:,.0f}/s",
    SETTLED: "{:,.0f}/s settled",
    OLDEST_WAITING: "oldest waiting {:.1f} s",
    "p50_ms": "p50 {:,.0f} ms",
    P95: "p95 {:,.0f} ms",
    "max_ms": "longest {:,.0f} ms",
    "seconds": "{:,.0f} s",
    PEAK: "at most {:,.0f} MiB each",
    "command_mib": "at most {:,.0f} MiB",
    "connections": "{:,.0f} connections",
    WAITING: "{:,.0f} wait at once",
    WAITING_KIB: "{:.1f} KiB of the web processes each",
    WAITING_CORES: "{:.2f} of a core while they wait",
    "connections_share": "{:.2f} of the connections allowed",
    "coupon_microseconds": "{:.1f} µs of processor a coupon",
    "order_microseconds": "{:.1f} µs of processor an order",
    **{name: f"{{:.2f}} × {of}" for name, of in RATIOS.items()},
}
"""How each figure is written."""


def lines(rows: Sequence[Told]) -> Iterator[documents.Line]:
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
    return documents.printed(HEADER, lines(rows), widest=WIDEST)


def markdown(rows: Sequence[Told]) -> str:
    """For a page."""
    return documents.markdown(HEADER, lines(rows))


def judged(row: str, figures: Mapping[str, float]) -> list[dict[str, Any]]:
    """The goals of a row, and whether these figures meet them."""
    return [
        {
            "figure": goal.figure,
            "least": goal.least,
            "below": goal.below,
            "is_ratio": goal.is_ratio,
            "is_met": goal.is_met(figures[goal.figure]),
        }
        for goal in ROWS[row].goals
    ]


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


def _beside(row: Told) -> str:
    having_goals = {goal["figure"] for goal in row["goals"]}
    names = [name for name in BESIDE if name in row["figures"] and name not in having_goals]
    return "; ".join(_figure(row, name) for name in names)


def _figure(row: Told, name: str) -> str:
    """With the bounds between which the rounds lay, where there were several."""
    text = FORMS[name].format(row["figures"][name])
    least, most = row["spread"].get(name, (0, 0))
    if least == most or name == "max_ms":
        return text
    return f"{text} ({_number(name, least)} to {_number(name, most)})"


def _goal(goal: Told) -> str:
    sign, bound = ("≥", goal["least"]) if goal["least"] is not None else ("<", goal["below"])
    return f"{sign} {_number(goal['figure'], bound)}"


def _met(goal: Told) -> str:
    if goal["is_met"]:
        return "yes"
    return "NO" if goal["is_ratio"] else "not here"


def _number(name: str, number: float) -> str:
    """The number alone, as it is written in the figure."""
    form = FORMS[name]
    return form[form.index("{") : form.index("}") + 1].format(number)
