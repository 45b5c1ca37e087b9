"""The report of docs/lab: `report.md` with plots of the steps. `python -m lab.compare.page` writes it
again from `results.json`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lab import report
from lab.compare import published
from lab.compare.scenarios import SCENARIOS
from lab.load import Numbers

Row = Mapping[str, Any]
Rows = Sequence[Row]
Text = Callable[[Row], str]  # Of a row, in one column
FOLDER = report.DOCS / "lab"
PLOT = {"per_second": "served a second, by callers", "p95_ms": "p95 in ms, by callers"}


def label(row: Row, by: str = "strategy") -> str:
    if row["variant"]:
        return f"{row[by]}, {row['variant']}"
    return str(row[by])


def rate(number: float) -> str:
    if number >= 100:
        return f"{number:,.0f}/s"
    return f"{number:,.1f}/s"


def time(milliseconds: float) -> str:
    """Never broken between number and unit."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:,.2f}\u00a0s"
    return f"{milliseconds:,.0f}\u00a0ms"


def counts(of: Numbers, times: str = "") -> str:
    return ", ".join(f"{number:,.0f} {times}{name}" for name, number in of.items())


def answers(row: Row) -> str:
    return counts(row["answers"], "× ")


def paid_a_second(row: Row) -> str:
    if "settled_per_second" not in row:
        return ""
    return rate(row["settled_per_second"])


def laws(row: Row) -> str:
    if row["broken"]:
        return f"broken: {', '.join(row['broken'])}"
    return "held"


def counted(name: str) -> Text:
    return lambda row: counts(row[name])


def timed(name: str) -> Text:
    return lambda row: time(row[name])


# The columns of a scenario: one is left out where no row has a text.
TEXTS: Mapping[str, Text] = {
    "strategy": label,
    "answers": answers,
    "tickets": counted("tickets"),
    "without a definite answer": lambda row: str(row["unsure"] or ""),
    "per second": lambda row: rate(row["per_second"]),
    "paid a second": paid_a_second,
    "p50": timed("p50_ms"),
    "p95": timed("p95_ms"),
    "p99": timed("p99_ms"),
    "max": timed("max_ms"),
    "p95 until known": timed("settled_p95_ms"),
    "laws": laws,
    "wrong rows": lambda row: counts(row["wrong"]) or "0",
    "of the database": counted("database"),
    "retries and the like": counted("counted"),
    "next coupon after": lambda row: str(row["faults"]),
    "the wall": lambda row: row.get("wall", ""),
}


def line(row: Row) -> str:
    wrong = counts(row["wrong"]) or "no wrong rows"
    return f"{row['scenario']} {label(row)}: {rate(row['per_second'])}, p95 {time(row['p95_ms'])}; {wrong}"


def write(folder: Path, rows: Rows) -> None:
    """The page, with a plot where there are steps, from all rows in the scenarios' order; `surprises.md`
    becomes a part."""
    text = "\n\n".join(part.rstrip() for part in parts(folder, rows))
    (folder / "report.md").write_text(f"{text}\n")


def parts(folder: Path, rows: Rows) -> Iterator[str]:
    yield "# The lab: every strategy on the same rows"
    yield summary(rows)
    surprises = folder / "surprises.md"
    if surprises.exists():
        yield f"## What surprised\n\n{surprises.read_text()}"
    yield f"## Side by side\n\nCallers served a second, and p95 until they knew.\n\n{side_by_side(rows)}"
    for name, group in groupby(rows, key=lambda row: row["scenario"]):
        of_scenario = [*group]
        yield section(name, of_scenario)
        if of_scenario[0]["steps"]:
            report.curves(
                folder / f"{name}.svg", {label(row): row["steps"] for row in of_scenario}, "vus", PLOT
            )
            yield f"![{name}: callers served a second, and p95, by callers]({name}.svg)"
    yield circumstances(rows)


def summary(rows: Rows) -> str:
    safe = [row for row in rows if not row["is_control"]]
    controls = [row for row in rows if row["is_control"]]
    wrong = [row for row in safe if row["broken"] or row["findings"]]
    good = len(safe) - len(wrong)
    lines = [f"- {good} of {len(safe)} measurements of safe strategies left nothing to find."]
    for row in [*wrong, *controls]:
        findings = "; ".join([counts(row["wrong"]), *row["findings"]])
        lines.append(f"- {label(row)} in {row['scenario']}: {findings}.")
    return "\n".join(lines)


def section(name: str, rows: Rows) -> str:
    cells = {}
    for column, text_of in TEXTS.items():
        texts = [text_of(row) for row in rows]
        if any(texts):
            cells[column] = texts
    quick = ""
    if any(row["is_quick"] for row in rows):
        quick = " (quick runs)"
    table = report.markdown([*cells], zip(*cells.values(), strict=True))
    return f"## {name}{quick}\n\n{SCENARIOS[name].says}.\n\n{table}"


def circumstances(rows: Rows) -> str:
    """Each machine with the commits that were measured on it."""
    commits: dict[str, dict[str, None]] = {}
    for row in rows:
        machine = report.machine(row["circumstances"])
        commits.setdefault(machine, {})[row["commit"]] = None
    lines = [f"- {', '.join(measured)}: {machine}" for machine, measured in commits.items()]
    return "## Where it was measured\n\n" + "\n".join(lines)


def side_by_side(rows: Rows) -> str:
    """Throughput and p95 of every strategy of coupons in every scenario."""
    figures: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for row in rows:
        scenario = SCENARIOS[row["scenario"]]
        if scenario.sort == "coupons" and scenario.joins != published.NAME:
            cells = figures.setdefault(row["strategy"], {})
            column = label(row, "scenario")
            cells[column] = f"{rate(row['per_second'])}, {time(row['settled_p95_ms'])}"
    for cells in figures.values():
        columns |= dict.fromkeys(cells)
    lines = [[name, *(cells.get(column, "–") for column in columns)] for name, cells in figures.items()]
    return report.markdown(["strategy", *columns], lines)


if __name__ == "__main__":
    kept = report.read(FOLDER / "results.json")["rows"]
    write(FOLDER, kept)
    published.write(published.PAGE, kept)
