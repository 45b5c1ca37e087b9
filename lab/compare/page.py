"""The report of docs/lab: `report.md` with plots of the steps. `python -m lab.compare.page` writes it
again from `results.json`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lab import report
from lab.compare.cases import SCENARIOS, USUAL

Row = Mapping[str, Any]
FOLDER = report.DOCS / "lab"
PLOT = {"per_second": "served a second, by callers", "p95_ms": "p95 in ms, by callers"}


def label(row: Row, by: str = "strategy") -> str:
    return f"{row[by]}, {row['variant']}" if row["variant"] else str(row[by])


def rate(number: float) -> str:
    return f"{number:,.0f}/s" if number >= 100 else f"{number:,.1f}/s"


def time(milliseconds: float) -> str:
    """Never broken between number and unit."""
    return f"{milliseconds / 1000:,.2f}\u00a0s" if milliseconds >= 1000 else f"{milliseconds:,.0f}\u00a0ms"


def counts(of: Mapping[str, float], times: str = "") -> str:
    return ", ".join(f"{number:,.0f} {times}{name}" for name, number in of.items())


TEXTS: Mapping[str, Callable[[Row], str]] = {
    "strategy": label,
    "answers": lambda row: counts(row["answers"], "× "),
    "tickets": lambda row: counts(row["tickets"]),
    "without a definite answer": lambda row: str(row["unsure"] or ""),
    "per second": lambda row: rate(row["per_second"]),
    "paid a second": lambda row: rate(row["settled_per_second"]) if "settled_per_second" in row else "",
    "p50": lambda row: time(row["p50_ms"]),
    "p95": lambda row: time(row["p95_ms"]),
    "p99": lambda row: time(row["p99_ms"]),
    "max": lambda row: time(row["max_ms"]),
    "p95 until known": lambda row: time(row["settled_p95_ms"]),
    "laws": lambda row: f"broken: {', '.join(row['broken'])}" if row["broken"] else "held",
    "wrong rows": lambda row: counts(row["wrong"]) or "0",
    "of the database": lambda row: counts(row["database"]),
    "retries and the like": lambda row: counts(row["counted"]),
    "next coupon after": lambda row: str(row["faults"]),
    "the wall": lambda row: row.get("wall", ""),
}
"""The columns of a scenario: one is left out where no row has a text."""


def line(row: Row) -> str:
    """One row as a line of a log."""
    wrong = counts(row["wrong"]) or "no wrong rows"
    return f"{row['scenario']} {label(row)}: {rate(row['per_second'])}, p95 {time(row['p95_ms'])}; {wrong}"


def write(folder: Path, rows: Sequence[Row]) -> None:
    """The page, with a plot where there are steps, from all rows in the scenarios' order; `surprises.md`
    becomes a part."""
    text = "\n\n".join(part.rstrip() for part in parts(folder, rows))
    (folder / "report.md").write_text(f"{text}\n")


def parts(folder: Path, rows: Sequence[Row]) -> Iterator[str]:
    """Everything in its order, as Markdown."""
    yield "# The lab: every strategy on the same rows"
    safe, controls = ([row for row in rows if row["is_control"] is is_one] for is_one in (False, True))
    wrong = [row for row in safe if row["broken"] or row["findings"]]
    said = [f"{len(safe) - len(wrong)} of {len(safe)} measurements of safe strategies left nothing to find."]
    for row in [*wrong, *controls]:
        found = "; ".join([counts(row["wrong"]), *row["findings"]])
        said.append(f"{label(row)} in {row['scenario']}: {found}.")
    yield "\n".join(f"- {text}" for text in said)
    if (folder / "surprises.md").exists():
        yield f"## What surprised\n\n{(folder / 'surprises.md').read_text()}"
    yield f"## Side by side\n\nCallers served a second, and p95 until they knew.\n\n{side_by_side(rows)}"
    for name, group in groupby(rows, key=lambda row: row["scenario"]):
        some = [*group]
        cells = {column: [text(row) for row in some] for column, text in TEXTS.items()}
        cells = {column: texts for column, texts in cells.items() if any(texts)}
        quick = " (quick runs)" if any(row["is_quick"] for row in some) else ""
        table = report.markdown([*cells], zip(*cells.values(), strict=True))
        yield f"## {name}{quick}\n\n{SCENARIOS[name]['says']}.\n\n{table}"
        if some[0]["steps"]:
            report.curves(folder / f"{name}.svg", {label(row): row["steps"] for row in some}, "vus", PLOT)
            yield f"![{name}: callers served a second, and p95, by callers]({name}.svg)"
    commits: dict[str, dict[str, None]] = {}
    for row in rows:
        commits.setdefault(report.machine(row["circumstances"]), {})[row["commit"]] = None
    lines = (f"- {', '.join(of)}: {machine}" for machine, of in commits.items())
    yield "## Where it was measured\n\n" + "\n".join(lines)


def side_by_side(rows: Sequence[Row]) -> str:
    """Throughput and p95 of every strategy of coupons in every scenario."""
    figures: dict[str, dict[str, str]] = {}
    for row in rows:
        if SCENARIOS[row["scenario"]].get("sort", USUAL["sort"]) == "coupons":
            text = f"{rate(row['per_second'])}, {time(row['settled_p95_ms'])}"
            figures.setdefault(row["strategy"], {})[label(row, "scenario")] = text
    columns = list(dict.fromkeys(column for one in figures.values() for column in one))
    lines = [[name, *(one.get(column, "–") for column in columns)] for name, one in figures.items()]
    return report.markdown(["strategy", *columns], lines)


if __name__ == "__main__":
    write(FOLDER, report.read(FOLDER / "results.json")["rows"])
