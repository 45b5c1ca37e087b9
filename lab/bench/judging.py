"""What becomes of the rows that were measured: sums with their goals, a table, docs/bench.json and
docs/bench-against.json with the last run of each size, and docs/bench/report.md.
`python -m lab.bench.judging` writes the page again from both files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from lab import report, stage as stages
from lab.bench.rows import COMPARED, MOST_PROCESSOR, ROWS
from lab.load import Numbers, ratio
from lab.report import number
from scripts.stack import Json, Lines, Words
from scripts.stack.children import say

FILE = report.DOCS / "bench.json"
AGAINST_FILE = report.DOCS / "bench-against.json"
PAGE = report.DOCS / "bench/report.md"
PLOT = report.DOCS / "bench/table.svg"
PROCESSOR = "processor_us ×"
MEMORY_GOAL = {"peak_mib": "< 250"}
# Figures of which the largest of several rounds counts; of all others the median.
LARGEST = {"max_ms", "longest_seconds", "late_max_seconds", "overloaded", "peak_mib"}
# Figures that are shown of every row that has them, beside those with a goal; of a row without any, all.
SHOWN = (
    "per_second",
    "settled_per_second",
    "p50_ms",
    "p95_ms",
    "max_ms",
    "of_null",
    "web_us",
    "mariadb_us",
    "redis_us",
    "worker_us",
    "statements",
    "waiting",
    "peak_mib",
    "coupons",
    "orders",
    "overloaded",
    "retries",
    "late_p50_seconds",
    "late_p95_seconds",
    "refunds",
    "quiet_per_second",
    "quiet_p95_ms",
)
LEGEND = """\
A figure is the median of the rounds, a longest or largest one the largest; in brackets the lowest
and the highest. `us` are µs of processor a request, of paid orders an order until it is settled.
"""
PLOTTED = {"per_second": "coupons a second, by millions in the table", "of_null": "the same × null"}
# A row as the files keep it: its figures, their spread, its goals, findings, remark and steps.
KeptRow = Json


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row measured once: figures, whose last word is their unit; errors; a remark; and what is drawn."""

    row: str
    figures: Numbers = field(default_factory=dict)
    findings: Words = ()
    says: str = ""
    steps: Sequence[Mapping[str, Any]] = ()


Runs = Iterator[Measured]
Rounds = list[tuple[Measured, Measured]]  # a row on this commit and on the other, in each round


def summed_up(measured: Iterable[Measured]) -> list[KeptRow]:
    """Each row once, as JSON has it, with the least and most of several rounds, and whether goals are met."""
    by_row: dict[str, list[Measured]] = {}
    for run in measured:
        by_row.setdefault(run.row, []).append(run)
    return [_sum_up(row, runs) for row, runs in by_row.items()]


def _sum_up(row: str, runs: Sequence[Measured]) -> KeptRow:
    figures: dict[str, float] = {}
    spread: dict[str, tuple[float, float]] = {}
    for name in runs[0].figures:
        numbers = sorted(round(run.figures[name], 3) for run in runs)
        if name in LARGEST:
            figures[name] = numbers[-1]
        else:
            figures[name] = round(median(numbers), 3)
        if len(runs) > 1:
            spread[name] = (numbers[0], numbers[-1])
    findings = [finding for run in runs for finding in run.findings]
    return {
        "row": row,
        "figures": figures,
        "spread": spread,
        "findings": findings,
        "goals": judged(ROWS[row].goals, figures),
        "says": runs[0].says,
        "steps": runs[0].steps,
    }


def judged(goals: Mapping[str, str], figures: Numbers) -> dict[str, Json]:
    """The goals by figure, and whether these figures meet them."""
    found = {}
    for name, goal in goals.items():
        value = figures[name]
        sign, bound = goal.split()
        is_met = value < float(bound)
        if sign == "≥":
            is_met = value >= float(bound)
        found[name] = {"goal": goal, "value": value, "is_met": is_met}
    return found


def write(rows: Sequence[KeptRow], **circumstances: Any) -> int:
    """Keep the run if it has all of its rows, show a full one on the page, and print it; the exit code."""
    kept = {**circumstances, "seconds": stages.seconds(), "rows": rows}
    file = FILE
    known = [*ROWS]
    if "against" in kept:
        file = AGAINST_FILE
        known = COMPARED
    if {row["row"] for row in rows} >= {*known}:
        size = kept["size"]["name"]
        report.write(file, report.read(file) | {size: kept})
        if size == "full":
            show()
    failed = failures(rows)
    say(f"\n{table(kept)}")
    for failure in failed:
        say(f"bench: FAILED {failure}")
    if failed:
        return 1
    return 0


def show() -> None:
    """Put the last full runs on the page, and what each row calls."""
    calls = [(name, row.calls) for name, row in ROWS.items()]
    report.put_inside(PAGE, "rows of make bench", report.markdown(("row", "the call"), calls))
    full = report.read(FILE).get("full")
    if full:
        report.put_inside(PAGE, "figures of make bench", table(full))
        [growth] = [row for row in full["rows"] if row["row"] == "growth"]
        steps = [step | {"millions": step["coupons"] / 1_000_000} for step in growth["steps"]]
        report.curves(PLOT, {"coupons": steps}, "millions", PLOTTED)
    full = report.read(AGAINST_FILE).get("full")
    if full:
        report.put_inside(PAGE, "figures of make bench AGAINST", table(full))


def compared(row: str, rounds: Rounds, *, has_budget: bool = False) -> KeptRow:
    """The row on this commit and the other, in rounds: both summed up, and their ratios of each round. With a
    budget its only goal is the least processor time of all rounds beside the other's."""
    this = _sum_up(row, [here for here, _ in rounds])
    other = _sum_up(row, [there for _, there in rounds])
    ratios = _sum_up(row, [quotient(here, there) for here, there in rounds])
    if has_budget:
        goals = judged({PROCESSOR: f"< {MOST_PROCESSOR}"}, {PROCESSOR: least_processor(rounds)})
    else:
        bounds = ROWS[row]
        of_ratios = judged(bounds.ratios, ratios["figures"])
        own = {**bounds.against, **(MEMORY_GOAL if bounds.ratios else {})}
        goals = {f"{name} ×": goal for name, goal in of_ratios.items()} | judged(own, this["figures"])
    return {
        "row": row,
        "this": this,
        "other": other,
        "ratios": ratios,
        "goals": goals,
        "findings": [
            *(f"this commit, {finding}" for finding in this["findings"]),
            *(f"other commit, {finding}" for finding in other["findings"]),
        ],
    }


def quotient(this: Measured, other: Measured) -> Measured:
    figures = {name: ratio(value, other.figures[name]) for name, value in this.figures.items()}
    return Measured(row=this.row, figures=figures)


def least_processor(rounds: Rounds) -> float:
    """The processor time of a request beside the other commit's, in the round in which it was least."""
    return min(ratio(this.figures["processor_us"], other.figures["processor_us"]) for this, other in rounds)


def failures(rows: Iterable[KeptRow]) -> Lines:
    """Errors, and missed goals: beside another commit all of them, else ratios of two loads of the run."""
    missed: Lines = []
    findings: Lines = []
    for row in rows:
        findings += row["findings"]
        for name, goal in row["goals"].items():
            if ("ratios" in row or name.startswith("of_")) and not goal["is_met"]:
                value = number(goal["value"])
                missed.append(f"{row['row']}: {name} {value}, and the goal is {goal['goal']}")
    return missed + findings


def table(kept: Mapping[str, Any]) -> str:
    size = kept["size"]
    command = "make bench"
    if kept.get("against"):
        command += f" AGAINST={kept['against']}"
    machine = report.machine(kept["circumstances"])
    figures = report.markdown(("row", "figures", "goals"), [cells(row) for row in kept["rows"]])
    return (
        f"`{command}` on {kept['measured_at'][:10]}, commit {kept['commit']}: {machine}.\n"
        f"{size['rounds']} rounds of {size['seconds']} s a row, {kept['seconds'] / 60:.0f} minutes in all.\n"
        f"{LEGEND}\n{figures}"
    )


def cells(row: KeptRow) -> tuple[str, str, str]:
    """The row, its figures with the lowest and highest of several rounds, and its goals."""
    judged_on = row.get("ratios", row)["figures"]
    wanted = [name.removesuffix(" ×") for name in row["goals"]]
    names = []
    for name in dict.fromkeys([*wanted, *SHOWN]):
        if name in judged_on:
            names.append(name)
    texts = [_shown(row, name) for name in names or judged_on]
    if row.get("says"):
        texts.append(row["says"])
    missed = []
    for name, goal in row["goals"].items():
        if not goal["is_met"]:
            missed.append(f"{name} {goal['goal']}")
    verdict = ""
    if missed:
        verdict = f"missed: {', '.join(missed)}"
    elif row["goals"]:
        verdict = "met"
    return row["row"], "; ".join(texts), verdict


def _shown(row: KeptRow, name: str) -> str:
    """A figure, its spread, and what it was on both commits."""
    summed = row.get("ratios", row)
    text = f"{name.replace('_', ' ')} {number(summed['figures'][name])}"
    if name in summed["spread"]:
        least, most = summed["spread"][name]
        if number(least) != number(most):
            text += f" ({number(least)} to {number(most)})"
    if "this" in row:
        this = row["this"]["figures"][name]
        other = row["other"]["figures"][name]
        text += f" × ({number(this)} for {number(other)})"
    return text


if __name__ == "__main__":
    show()
