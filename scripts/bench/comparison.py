"""The loads of two commits side by side: figures of each, ratios by round, goals, and the table of it all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from scripts.bench import documents, watching
from scripts.bench.load import Run, median_microseconds, ratio
from scripts.bench.paying import LOADS
from scripts.bench.rows import (
    COMPARED,
    NULL_WAITING,
    OLDEST_WAITING,
    P95,
    PEAK,
    PER_SECOND,
    PROCESSOR,
    ROWS,
    SETTLED,
    WAITING,
    WAITING_CORES,
    WAITING_KIB,
    Goal,
)

THIS, OTHER = "this", "other"
HEADER = ("work", "figure", "this", "other", "this / other", "goal", "met")
RATIOS_HEADER = ("work", "throughput, this / other", "p95, this / other", "goals met")
Compared = dict[str, Any]
"""A row as docs/bench-against.json has it."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """`label` is what a table calls it; of several rounds the median counts, or where `is_longest` the
    largest."""

    name: str
    label: str
    digits: int = 0
    is_longest: bool = False


RATE_AND_P95 = (Figure(name=PER_SECOND, label="answers a second"), Figure(name=P95, label="p95, ms"))
PAID_AND_P95 = (Figure(name=PER_SECOND, label="paid a second"), Figure(name=P95, label="p95, ms"))
ACCEPTED = (
    Figure(name=PER_SECOND, label="accepted a second"),
    Figure(name=SETTLED, label="settled a second"),
    Figure(name=P95, label="p95, ms"),
    Figure(name=OLDEST_WAITING, label="oldest waiting, s", digits=1, is_longest=True),
    Figure(name="overloaded", label="answered 503", is_longest=True),
)
COST = (
    Figure(name=PROCESSOR, label="processor, µs each"),
    Figure(name=PEAK, label="a web process, MiB", is_longest=True),
)
WAITERS = (
    Figure(name=WAITING, label="waiting at once"),
    Figure(name=WAITING_KIB, label="KiB of web each", digits=1),
    Figure(name=WAITING_CORES, label="cores meanwhile", digits=3),
    Figure(name=NULL_WAITING, label="null p95 / alone", digits=2),
    Figure(name="answered_201", label="answered 201"),
    Figure(name="answered_202", label="answered 202"),
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One load on both stacks, the one right after the other."""

    this: Run
    other: Run


def figures_of(row: str) -> Sequence[Figure]:
    """What a row is compared in."""
    if row == WAITING:
        return WAITERS
    if row not in LOADS:
        return (*RATE_AND_P95, *COST)
    return (*(PAID_AND_P95 if LOADS[row].waits else ACCEPTED), *COST)


def rows(rounds: Sequence[Round]) -> list[Compared]:
    """A row for each load, in the order of the rows."""
    by_row = {row: [one for one in rounds if one.this.row == row] for row in COMPARED}
    return [compare(row, mine) for row, mine in by_row.items() if mine]


def compare(row: str, rounds: Sequence[Round]) -> Compared:
    """The rounds of one load."""
    this, other = [one.this for one in rounds], [one.other for one in rounds]
    return {
        "row": row,
        "name": ROWS[row].name,
        "figures": [_compare_figure(figure, row, this, other) for figure in figures_of(row)],
        "microseconds": {THIS: _microseconds(this), OTHER: _microseconds(other)},
        "findings": [
            f"{name} commit, {finding}"
            for name, runs in ((THIS, this), (OTHER, other))
            for run in runs
            for finding in run.findings
        ],
    }


def progress(one: Round) -> str:
    """A round in a line: this commit's figure, the other's, and the ratio."""
    parts = []
    for figure in figures_of(one.this.row):
        this, other = _number(one.this, figure.name), _number(one.other, figure.name)
        text = f"{figure.label} {this:,.{figure.digits}f} and {other:,.{figure.digits}f}"
        parts.append(text if figure.is_longest else f"{text} ({ratio(this, other):.2f} ×)")
    return f"{ROWS[one.this.row].name}: {'; '.join(parts)}"


def failures(compared: Sequence[Compared]) -> list[str]:
    """The goals that are missed, and what must not be."""
    missed = [
        f"{row['name']}: {figure['label']} {_judged(figure)}, and the goal is {goal_text(figure['goal'])}"
        for row in compared
        for figure in row["figures"]
        if figure["goal"] and not figure["goal"]["is_met"]
    ]
    return missed + [finding for row in compared for finding in row["findings"]]


def goal_text(goal: Mapping[str, Any]) -> str:
    """The bound in words: of a ratio with a sign for times."""
    sign, bound = ("≥", goal["least"]) if goal["least"] is not None else ("<", goal["below"])
    return f"{sign} {bound:g}{' ×' if goal['of_other'] else ''}"


def _judged(figure: Compared) -> str:
    if figure["goal"]["of_other"]:
        return f"{figure['ratio']['value']:.2f} ×"
    return f"{figure[THIS]['value']:,.{figure['digits']}f}"


def _compare_figure(figure: Figure, row: str, this: Sequence[Run], other: Sequence[Run]) -> Compared:
    mine, theirs = ([_number(run, figure.name) for run in runs] for runs in (this, other))
    ratios = [ratio(a, b) for a, b in zip(mine, theirs, strict=True)]
    compared: Compared = {
        "figure": figure.name,
        "label": figure.label,
        "digits": figure.digits,
        THIS: _summary(mine, figure),
        OTHER: _summary(theirs, figure),
        # A ratio of what may be 0, or of two largest values, says nothing.
        "ratio": None if figure.is_longest else _summary(ratios, figure),
        "goal": None,
    }
    goal = next((goal for goal in ROWS[row].against if goal.figure == figure.name), None)
    return compared | {"goal": _judge(goal, compared)} if goal else compared


def _judge(goal: Goal, compared: Compared) -> Compared:
    number = compared["ratio" if goal.of_other else THIS]["value"]
    return {
        "least": goal.least,
        "below": goal.below,
        "of_other": goal.of_other,
        "is_met": goal.is_met(number),
    }


def _summary(numbers: Sequence[float], figure: Figure) -> dict[str, Any]:
    value = max(numbers) if figure.is_longest else median(numbers)
    return {
        "value": round(value, 3),
        "least": round(min(numbers), 3),
        "most": round(max(numbers), 3),
        "rounds": [round(number, 3) for number in numbers],
    }


def _number(run: Run, name: str) -> float:
    return float(run.others[name] if name in run.others else getattr(run.figures, name))


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


def markdown(rows: Sequence[Compared]) -> str:
    """For a page."""
    return documents.markdown(HEADER, lines(rows))


def ratio_lines(rows: Sequence[Compared]) -> Iterator[documents.Line]:
    """The cells of a line for each load: its two ratios, and the goals of all of its figures."""
    for row in rows:
        ratios = {
            figure["figure"]: _spread(figure["ratio"], 2) for figure in row["figures"] if figure["ratio"]
        }
        judged = [figure for figure in row["figures"] if figure["goal"]]
        missed = [figure["label"] for figure in judged if not figure["goal"]["is_met"]]
        met = "NO: " + ", ".join(missed) if missed else "yes" if judged else ""
        # An order that is accepted and never paid is no throughput.
        yield row["name"], ratios.get(SETTLED, ratios.get(PER_SECOND, "")), ratios.get(P95, ""), met


def ratios_markdown(rows: Sequence[Compared]) -> str:
    """For a page, a line for each load."""
    return documents.markdown(RATIOS_HEADER, ratio_lines(rows))


def _spread(told: Mapping[str, Any], digits: int) -> str:
    """The number, with the bounds between which the rounds lay, where these differ."""
    number, least, most = (f"{told[name]:,.{digits}f}" for name in ("value", "least", "most"))
    return number if least == most else f"{number} ({least} to {most})"
