"""The rows of the benchmark, which `rows.toml` declares, with their goals; and what becomes of a run: sums, a
table, docs/bench.json and docs/bench-against.json with the last run of each size, and docs/bench/report.md.
`python -m lab.bench.rows` writes the page again from both files."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from types import SimpleNamespace
from typing import Any

from lab import report, stage as stages
from lab.load import ratio
from lab.report import number
from lab.tables import declared

_DECLARED = declared("lab/bench/rows.toml")
USUAL = _DECLARED.pop("usual")
ROWS = {key: SimpleNamespace(**USUAL | words) for key, words in _DECLARED.items()}
COMPARED = [key for key, row in ROWS.items() if row.ratios or row.against]
"""The rows that are measured beside another commit."""
_SIZES, _NAMES = declared("lab/bench/sizes.toml"), ("full", "quick", "budget")
FULL, QUICK, SMALL = (SimpleNamespace(name=name, **_SIZES["full"] | _SIZES[name]) for name in _NAMES)
BUDGET = ["null", "coupon", "sold_out", "orders", "points_orders", "paid", "wallet", "idle"]
"""What CI measures beside the last release, by processor time."""
MOST_PROCESSOR = 1.15  # times the other commit's, in each round: other programs of the machine make a tenth


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row measured once: figures, whose last word is their unit; errors; a remark; and what is drawn."""

    row: str
    figures: Mapping[str, float] = field(default_factory=dict)
    findings: Sequence[str] = ()
    says: str = ""
    steps: Sequence[Mapping[str, Any]] = ()


Rounds = Sequence[tuple[Measured, Measured]]  # a row on this commit and on the other, in each round


def summed_up(measured: Iterable[Measured]) -> list[dict[str, Any]]:
    """Each row once, as JSON has it, with the least and most of several rounds, and whether goals are met."""
    by_row: dict[str, list[Measured]] = {}
    for one in measured:
        by_row.setdefault(one.row, []).append(one)
    found = []
    for row, rounds in by_row.items():
        all_of = {name: sorted(round(one.figures[name], 3) for one in rounds) for name in rounds[0].figures}
        figures = {
            name: numbers[-1] if name in REPORT.largest else round(median(numbers), 3)
            for name, numbers in all_of.items()
        }
        spread = {name: (numbers[0], numbers[-1]) for name, numbers in all_of.items() if len(rounds) > 1}
        findings = [finding for one in rounds for finding in one.findings]
        kept: dict[str, Any] = {"row": row, "figures": figures, "spread": spread, "findings": findings}
        kept |= {"goals": judged(ROWS[row].goals, figures), "says": rounds[0].says, "steps": rounds[0].steps}
        found.append(kept)
    return found


def judged(goals: Mapping[str, str], figures: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The goals (`≥ 834` or `< 0.1`) by figure, and whether these figures meet them."""
    found = {}
    for name, goal in goals.items():
        sign, bound = goal.split()
        is_met = figures[name] >= float(bound) if sign == "≥" else figures[name] < float(bound)
        found[name] = {"goal": goal, "value": figures[name], "is_met": is_met}
    return found


FILE, AGAINST_FILE = report.DOCS / "bench.json", report.DOCS / "bench-against.json"
PROCESSOR = "processor_us ×"
PAGE, PLOT = report.DOCS / "bench" / "report.md", report.DOCS / "bench" / "table.svg"
REPORT = SimpleNamespace(**declared("lab/bench/report.toml"))


def write(rows: Sequence[dict[str, Any]], **circumstances: Any) -> int:
    """Keep the run if it has all of its rows, show a full one on the page, and print it; the exit code."""
    kept = {**circumstances, "seconds": stages.seconds(), "rows": rows}
    file, known = (AGAINST_FILE, COMPARED) if "against" in kept else (FILE, [*ROWS])
    if {row["row"] for row in rows} >= {*known}:
        report.write(file, report.read(file) | {kept["size"]["name"]: kept})
        if kept["size"]["name"] == "full":
            show()
    failed = failures(rows)
    print(f"\n{table(kept)}", *(f"bench: FAILED {one}" for one in failed), sep="\n", flush=True)
    return 1 if failed else 0


def show() -> None:
    """Put the last full runs on the page, and what each row calls."""
    calls = ((key, row.calls) for key, row in ROWS.items())
    report.put_inside(PAGE, "rows of make bench", report.markdown(("row", "the call"), calls))
    if full := report.read(FILE).get("full"):
        report.put_inside(PAGE, "figures of make bench", table(full))
        [grown] = (row for row in full["rows"] if row["row"] == "growth")
        steps = [step | {"millions": step["coupons"] / 1_000_000} for step in grown["steps"]]
        report.curves(PLOT, {"coupons": steps}, "millions", REPORT.plot)
    if full := report.read(AGAINST_FILE).get("full"):
        report.put_inside(PAGE, "figures of make bench AGAINST", table(full))


def compared(row: str, rounds: Rounds, *, has_budget: bool = False) -> dict[str, Any]:
    """The row on this commit and the other, in rounds: both summed up, and their ratios of each round. With a
    budget its only goal is the least processor time of all rounds beside the other's."""
    quotients = [
        Measured(row=row, figures={name: ratio(of, other.figures[name]) for name, of in this.figures.items()})
        for this, other in rounds
    ]
    this, other, ratios = (summed_up(runs)[0] for runs in (*zip(*rounds, strict=True), quotients))
    both = {"this": this, "other": other}
    findings = [f"{name} commit, {text}" for name, one in both.items() for text in one["findings"]]
    if has_budget:
        goals = judged({PROCESSOR: f"< {MOST_PROCESSOR}"}, {PROCESSOR: least_processor(rounds)})
    else:
        goals = {f"{name} ×": one for name, one in judged(ROWS[row].ratios, ratios["figures"]).items()}
        own = {**ROWS[row].against} | ({"peak_mib": "< 250"} if ROWS[row].ratios else {})
        goals |= judged(own, this["figures"])
    return {"row": row, **both, "ratios": ratios, "goals": goals, "findings": findings}


def least_processor(rounds: Rounds) -> float:
    """The processor time of a request beside the other commit's, in the round in which it was least."""
    times = ((this.figures["processor_us"], other.figures["processor_us"]) for this, other in rounds)
    return min(itertools.starmap(ratio, times))


def failures(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Errors, and missed goals: beside another commit all of them, else ratios of two loads of the run."""
    missed = [
        f"{row['row']}: {name} {number(goal['value'])}, and the goal is {goal['goal']}"
        for row in rows
        for name, goal in row["goals"].items()
        if not goal["is_met"] and ("ratios" in row or name.startswith("of_"))
    ]
    return missed + [finding for row in rows for finding in row["findings"]]


def table(kept: Mapping[str, Any]) -> str:
    """All rows of a run, and what it was measured on."""
    size, against = kept["size"], kept.get("against", "")
    return (
        f"`make bench{against and f' AGAINST={against}'}` on {kept['measured_at'][:10]}, commit "
        f"{kept['commit']}: {report.machine(kept['circumstances'])}.\n"
        f"{size['rounds']} rounds of {size['seconds']} s a row, {kept['seconds'] / 60:.0f} minutes in all.\n"
        f"{REPORT.legend}\n{report.markdown(('row', 'figures', 'goals'), map(cells, kept['rows']))}"
    )


def cells(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """The row, its figures with the lowest and highest of several rounds, and its goals."""
    of = row.get("ratios", row)
    wanted = (*(name.removesuffix(" ×") for name in row["goals"]), *REPORT.shown)
    texts = []
    for name in dict.fromkeys(name for name in wanted if name in of["figures"]) or of["figures"]:
        least, most = map(number, of["spread"].get(name, (0, 0)))
        spread = "" if least == most else f" ({least} to {most})"
        both = [number(row[side]["figures"][name]) for side in ("this", "other") if side in row]
        beside = f" × ({' for '.join(both)})" if both else ""
        texts.append(f"{name.replace('_', ' ')} {number(of['figures'][name])}{spread}{beside}")
    texts += filter(None, [row.get("says")])
    missed = ", ".join(f"{name} {one['goal']}" for name, one in row["goals"].items() if not one["is_met"])
    return row["row"], "; ".join(texts), f"missed: {missed}" if missed else "met" if row["goals"] else ""


if __name__ == "__main__":
    show()
