"""The loads of two commits side by side: figures of each, ratios by round, goals, and their tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from lab.bench import watching
from lab.bench.load import Run, median_microseconds, ratio
from lab.bench.report import documents
from lab.bench.rows import COMPARED, P95, PER_SECOND, ROWS, SETTLED, WAITING, bound
from lab.bench.workloads.paying import LOADS

THIS, OTHER = "this", "other"
HEADER = ("work", "figure", "this", "other", "this / other", "goal", "met")
RATIOS_HEADER = ("work", "throughput, this / other", "p95, this / other", "goals met")
Compared = dict[str, Any]
"""A row as docs/bench-against.json has it."""


@dataclass(frozen=True)
class Figure:
    """`label` is its name in a table; of several rounds the median counts, or if `is_longest` the largest."""

    name: str
    label: str
    digits: int = 0
    is_longest: bool = False


P95_MS = Figure(P95, "p95, ms")
COST = (
    Figure("processor", "processor, µs each"),
    Figure("peak_mib", "a web process, MiB", is_longest=True),
)
ANSWERED = (Figure(PER_SECOND, "answers a second"), P95_MS, *COST)
PAID = (Figure(PER_SECOND, "paid a second"), P95_MS, *COST)
ACCEPTED = (
    Figure(PER_SECOND, "accepted a second"),
    Figure(SETTLED, "settled a second"),
    P95_MS,
    Figure("oldest_waiting_seconds", "oldest waiting, s", digits=1, is_longest=True),
    Figure("overloaded", "answered 503", is_longest=True),
    *COST,
)
WAITERS = (
    Figure(WAITING, "waiting at once"),
    Figure("waiting_kib", "KiB of web each", digits=1),
    Figure("waiting_cores", "cores meanwhile", digits=3),
    Figure("of_null_alone", "null p95 / alone", digits=2),
    Figure("answered_201", "answered 201"),
    Figure("answered_202", "answered 202"),
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One load on both stacks, the one right after the other."""

    this: Run
    other: Run


def figures_of(row: str) -> Sequence[Figure]:
    """The figures in which a row is compared."""
    if row == WAITING:
        return WAITERS
    if row in LOADS:
        return PAID if LOADS[row].waits else ACCEPTED
    return ANSWERED


def rows(rounds: Sequence[Round]) -> list[Compared]:
    """A row for each load, in the order of the rows."""
    by_row = {row: [one for one in rounds if one.this.row == row] for row in COMPARED}
    return [compare(row, mine) for row, mine in by_row.items() if mine]


def compare(row: str, rounds: Sequence[Round]) -> Compared:
    """The rounds of one load."""
    sides = {THIS: [one.this for one in rounds], OTHER: [one.other for one in rounds]}
    return {
        "row": row,
        "name": ROWS[row].name,
        "figures": [_compare_figure(figure, row, sides) for figure in figures_of(row)],
        "microseconds": {name: _microseconds(runs) for name, runs in sides.items()},
        "findings": [
            f"{name} commit, {finding}"
            for name, runs in sides.items()
            for run in runs
            for finding in run.findings
        ],
    }


def progress(one: Round) -> str:
    """A round in a line: this commit's figure, the other's, and the ratio."""
    parts = []
    for figure in figures_of(one.this.row):
        this, other = one.this.numbers[figure.name], one.other.numbers[figure.name]
        text = f"{figure.label} {this:,.{figure.digits}f} and {other:,.{figure.digits}f}"
        parts.append(text if figure.is_longest else f"{text} ({ratio(this, other):.2f} ×)")
    return f"{ROWS[one.this.row].name}: {'; '.join(parts)}"


def failures(compared: Sequence[Compared]) -> list[str]:
    """The goals that are missed, and the errors."""
    missed = [
        f"{row['name']}: {figure['label']} {_judged(figure)}, and the goal is {goal_text(figure['goal'])}"
        for row in compared
        for figure in row["figures"]
        if figure["goal"] and not figure["goal"]["is_met"]
    ]
    return missed + [finding for row in compared for finding in row["findings"]]


def goal_text(goal: Mapping[str, Any]) -> str:
    """The bound in words: of a ratio with a sign for times."""
    sign, number = bound(goal)
    return f"{sign} {number:g}{' ×' if goal['of_other'] else ''}"


def _judged(figure: Compared) -> str:
    if figure["goal"]["of_other"]:
        return f"{figure['ratio']['value']:.2f} ×"
    return f"{figure[THIS]['value']:,.{figure['digits']}f}"


def _compare_figure(figure: Figure, row: str, sides: Mapping[str, Sequence[Run]]) -> Compared:
    mine, theirs = ([run.numbers[figure.name] for run in sides[side]] for side in (THIS, OTHER))
    ratios = [ratio(a, b) for a, b in zip(mine, theirs, strict=True)]
    compared: Compared = {
        "figure": figure.name,
        "label": figure.label,
        "digits": figure.digits,
        THIS: _summary(mine, figure),
        OTHER: _summary(theirs, figure),
        # A ratio of figures that may be 0, or of two largest values, says nothing.
        "ratio": None if figure.is_longest else _summary(ratios, figure),
        "goal": None,
    }
    for goal in ROWS[row].against:
        if goal.figure == figure.name:
            is_met = goal.is_met(compared["ratio" if goal.of_other else THIS]["value"])
            bounds = {"least": goal.least, "below": goal.below, "of_other": goal.of_other}
            compared["goal"] = bounds | {"is_met": is_met}
    return compared


def _summary(numbers: Sequence[float], figure: Figure) -> dict[str, Any]:
    value = max(numbers) if figure.is_longest else median(numbers)
    bounds = {"value": value, "least": min(numbers), "most": max(numbers)}
    rounded = {name: round(number, 3) for name, number in bounds.items()}
    return rounded | {"rounds": [round(number, 3) for number in numbers]}


def _microseconds(runs: Sequence[Run]) -> Mapping[str, int]:
    medians = median_microseconds(runs)
    return {name: round(medians[name]) for name in watching.PROCESSES if name in medians}


def lines(rows: Sequence[Compared]) -> Iterator[documents.Line]:
    """The cells of each line: one for each figure, and one for the processor time of each row."""
    for row in rows:
        name = row["name"]
        for figure in row["figures"]:
            digits, goal = figure["digits"], figure["goal"]
            both = _spread(figure[THIS], digits), _spread(figure[OTHER], digits)
            ratio_text = _spread(figure["ratio"], 2) if figure["ratio"] else ""
            met = "" if goal is None else "yes" if goal["is_met"] else "NO"
            yield name, figure["label"], *both, ratio_text, goal_text(goal) if goal else "", met
            name = ""
        this, other = row["microseconds"][THIS], row["microseconds"][OTHER]
        for process in this:
            quotient = f"{ratio(this[process], other[process]):.2f}"
            yield "", f"{process}, µs each", f"{this[process]:,}", f"{other[process]:,}", quotient, "", ""


def printed(rows: Sequence[Compared]) -> str:
    """For a terminal, the name of each row above its figures."""
    cells = list(lines(rows))
    plain = documents.printed(HEADER[1:], [line[1:] for line in cells]).splitlines()
    named = zip([HEADER[0], *(line[0] for line in cells)], plain, strict=True)
    return "\n".join(f"{name}\n  {line}" if name else f"  {line}" for name, line in named)


def ratio_lines(rows: Sequence[Compared]) -> Iterator[documents.Line]:
    """The cells of a line for each load: its two ratios, and the goals of all of its figures."""
    for row in rows:
        ratios = {one["figure"]: _spread(one["ratio"], 2) for one in row["figures"] if one["ratio"]}
        judged = [one for one in row["figures"] if one["goal"]]
        missed = [one["label"] for one in judged if not one["goal"]["is_met"]]
        met = "NO: " + ", ".join(missed) if missed else "yes" if judged else ""
        # An order that is accepted and never paid is no throughput.
        yield row["name"], ratios.get(SETTLED, ratios.get(PER_SECOND, "")), ratios.get(P95, ""), met


def _spread(summary: Mapping[str, Any], digits: int) -> str:
    """The number, with the lowest and highest of the rounds if these differ."""
    number, least, most = (f"{summary[name]:,.{digits}f}" for name in ("value", "least", "most"))
    return number if least == most else f"{number} ({least} to {most})"
