"""The table of a run, docs/bench.json with the last run of each size, and the pages that show it.

`python -m lab.bench.report.page` writes pages and plots again from the JSON files.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.bench.load import Measured
from lab.bench.report import comparison, documents, drawing
from lab.bench.rows import LONGEST, P95, PER_SECOND, RATIOS, ROWS, bound
from lab.bench.sizes import Size
from scripts.stack import places

DOCS = places.PROJECT / "docs"
FILE, AGAINST_FILE = DOCS / "bench.json", DOCS / "bench-against.json"
PAGE, WHOLE_PAGE, FOLDER = DOCS / "performance.md", DOCS / "bench.md", DOCS / "bench"
AGAINST_PAGE = DOCS / "bench-against.md"
FIGURES = ("<!-- figures of make bench -->\n", "<!-- end of figures -->\n")
CALLS = ("<!-- rows of make bench -->\n", "<!-- end of rows -->\n")
AGAINST = ("<!-- figures of make bench AGAINST -->\n", "<!-- end of AGAINST -->\n")
NAMES = {"null": "null endpoint", "coupon": "coupon, group_commit", "orders": "orders, 3 lines"}
BY_BUYERS = {"per_second": "answers a second, by buyers at once", "p95_ms": "p95 in ms"}
BY_TABLE = {
    "per_second": "coupons a second, by millions in the table",
    "of_null": "the same × null in that moment",
}
PLOTS = """![Answers a second, and p95, of null, coupons and orders, by buyers at once](bench/buyers.svg)

![Coupons a second, and the same × null, with up to five million coupons in the table](bench/table.svg)
"""
NONE_AGAINST_YET = "None yet: `make bench AGAINST=<commit>` measures them, and writes them here.\n"
NONE_YET = "None yet: `make bench` measures them, and writes them here.\n"
FIGURES_LEGEND = """\
The number is the median of the rounds, of "oldest waiting", "answered 503" and "a web process" the largest;
in brackets the lowest and the highest. µs are processor time a request, of paid orders an order until it is \
settled,
of buyers who wait a second of waiting.
"""
RATIOS_LEGEND = "A ratio is the median of the rounds; in brackets the lowest and the highest.\n"
Report = dict[str, Any]
Reported = Mapping[str, Any]
"""A row as docs/bench.json has it."""
BESIDE = [
    *("connections", "waiting", "per_second", "settled_per_second", "p50_ms", "p95_ms", "max_ms"),
    *("of_null", "of_pessimistic", "of_issued", "command_mib", "event_microseconds"),
]
"""Figures that are shown of every row that has them, beside those with a goal."""
WIDEST = 62
"""Characters of a figure in a terminal."""
HEADER = ("work", "figure", "goal", "met")
SUMMARY_HEADER = ("work", "figures", "goals")
FORMS = {
    "per_second": "{:,.0f}/s",
    "settled_per_second": "{:,.0f}/s settled",
    "oldest_waiting_seconds": "oldest waiting {:.1f} s",
    "p50_ms": "p50 {:,.0f} ms",
    "p95_ms": "p95 {:,.0f} ms",
    "max_ms": "longest {:,.0f} ms",
    "seconds": "{:,.0f} s",
    "peak_mib": "at most {:,.0f} MiB each",
    "command_mib": "at most {:,.0f} MiB",
    "connections": "{:,.0f} connections",
    "waiting": "{:,.0f} wait at once",
    "waiting_kib": "{:.1f} KiB of the web processes each",
    "waiting_cores": "{:.2f} of a core while they wait",
    "statements": "{:.3f} statements each",
    "estimate_error": "the wait estimated at most {:.0%} off",
    "estimate_error_median": "half of them at most {:.0%} off",
    "connections_share": "{:.2f} of the connections allowed",
    "coupon_microseconds": "{:.1f} µs of processor a coupon",
    "order_microseconds": "{:.1f} µs of processor an order",
    "event_microseconds": "{:.1f} µs of processor an event",
    "viewers_cores": "{:.3f} of a core",
    **{name: f"{{:.2f}} × {of}" for name, of in RATIOS.items()},
}
"""How each figure is written."""


def report(size: Size, measured: Sequence[Measured], others: Mapping[str, Any]) -> Report:
    """All of a run as JSON has it; `others` are its circumstances, and the steps that become plots."""
    return {"measured_at": documents.now(), **others, "size": asdict(size), "rows": rows(measured)}


def rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Each row as JSON has it, in the rows' own order."""
    order = list(ROWS)
    return [_row(one) for one in sorted(measured, key=lambda one: order.index(one.row))]


def _row(one: Measured) -> dict[str, Any]:
    return {
        "row": one.row,
        "name": ROWS[one.row].name,
        "figures": {name: round(number, 3) for name, number in one.figures.items()},
        "spread": {name: [round(bound, 3) for bound in bounds] for name, bounds in one.spread.items()},
        "goals": judged(one.row, one.figures),
        "findings": list(one.findings),
        "says": one.says,
    }


def lines(rows: Sequence[Reported]) -> Iterator[documents.Line]:
    """The cells of each line: a row takes one for its name and its figures without a goal, one for each goal,
    and one for its remark."""
    for row in rows:
        having_goals = {goal["figure"] for goal in row["goals"]}
        beside = [name for name in BESIDE if name in row["figures"] and name not in having_goals]
        yield ROWS[row["row"]].name, "; ".join(_figure(row, name) for name in beside), "", ""
        for goal in row["goals"]:
            missed = "NO" if goal["is_ratio"] else "not here"
            yield "", _figure(row, goal["figure"]), _goal(goal), "yes" if goal["is_met"] else missed
        if row["says"]:
            yield "", row["says"], "", ""


def printed(rows: Sequence[Reported]) -> str:
    """For a terminal."""
    return documents.printed(HEADER, lines(rows), widest=WIDEST)


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


def failures(rows: Sequence[Reported]) -> list[str]:
    """Why the command fails: ratios below their goals, and errors. Absolute figures are the machine's, so
    missing one fails nothing."""
    missed = [
        f"{ROWS[row['row']].name}: {_figure(row, goal['figure'])}, and the goal is {_goal(goal)}"
        for row in rows
        for goal in row["goals"]
        if goal["is_ratio"] and not goal["is_met"]
    ]
    return missed + [finding for row in rows for finding in row["findings"]]


def _figure(row: Reported, name: str) -> str:
    """With the lowest and highest of several rounds."""
    text = FORMS[name].format(row["figures"][name])
    least, most = row["spread"].get(name, (0, 0))
    if least == most or name == LONGEST:
        return text
    return f"{text} ({_number(name, least)} to {_number(name, most)})"


def _goal(goal: Reported) -> str:
    sign, number = bound(goal)
    return f"{sign} {_number(goal['figure'], number)}"


def _number(name: str, number: float) -> str:
    """The number alone, as it is written in the figure."""
    form = FORMS[name]
    return form[form.index("{") : form.index("}") + 1].format(number)


def read(file: Path = FILE) -> dict[str, Report]:
    """The last report of each size, `full` and `quick`. Raises SetupError when the file has none."""
    found: dict[str, Report] = documents.read(
        file, lambda reports: {name: reports[name] for name in reports if reports[name]["rows"]}, without={}
    )
    return found


def keep(one: Report, *, file: Path = FILE) -> None:
    """Put the report in the place of the one before it of the same size."""
    documents.write(file, read(file) | {one["size"]["name"]: one})


def write(report: Report | None) -> None:
    """Put all figures of this run on the whole page; a line for each row, and what it calls, on the other."""
    documents.put_inside(WHOLE_PAGE, FIGURES, figures(report))
    documents.put_inside(PAGE, FIGURES, summary(report))
    documents.put_inside(PAGE, CALLS, calls())


def write_against(report: Report | None) -> None:
    """Put all figures of a comparison on its own page, and the ratios of each load on the bench's."""
    documents.put_inside(AGAINST_PAGE, AGAINST, against_figures(report))
    documents.put_inside(PAGE, AGAINST, against_ratios(report))


def calls() -> str:
    """What each row of the table calls."""
    return documents.markdown(("row", "the call"), [(row.name, row.calls) for row in ROWS.values()])


def figures(report: Report | None) -> str:
    """The table of a run, and what it was measured on."""
    if report is None:
        return NONE_YET
    return f"{circumstances(report)}\n\n{documents.markdown(HEADER, lines(report['rows']))}"


def summary(report: Report | None) -> str:
    """A line for each row of a run, what it was measured on, and the plots."""
    if report is None:
        return NONE_YET
    table = documents.markdown(SUMMARY_HEADER, map(_summary_line, report["rows"]))
    return f"{circumstances(report)}\n\n{table}\n{PLOTS}"


def _summary_line(row: Reported) -> documents.Line:
    having_goals = [goal["figure"] for goal in row["goals"]]
    names = [name for name in (PER_SECOND, P95) if name in row["figures"] and name not in having_goals]
    shown = "; ".join(_figure(row, name) for name in (*having_goals, *names))
    missed = "; ".join(_goal(goal) for goal in row["goals"] if not goal["is_met"])
    verdict = f"missed: {missed}" if missed else "met" if having_goals else ""
    return ROWS[row["row"]].name, shown or row["says"], verdict


def against_figures(report: Report | None) -> str:
    """The table of a comparison, and what it was measured on."""
    if report is None:
        return NONE_AGAINST_YET
    table = documents.markdown(comparison.HEADER, comparison.lines(report["rows"]))
    return f"{circumstances(report)}\n{FIGURES_LEGEND}\n{table}"


def against_ratios(report: Report | None) -> str:
    """A line for each load of a comparison, and what it was measured on."""
    if report is None:
        return NONE_AGAINST_YET
    table = documents.markdown(comparison.RATIOS_HEADER, comparison.ratio_lines(report["rows"]))
    return f"{circumstances(report)}\n{RATIOS_LEGEND}\n{table}"


def circumstances(report: Report) -> str:
    """Commits, machine, versions and size in a few lines."""
    found, size, day = report["circumstances"], report["size"], report["measured_at"][:10]
    machine = f"{documents.machine(found)}; load average {found['load_before']:.1f} before.\n"
    machine += documents.versions(found)
    minutes = f"{report['seconds'] / 60:.0f} minutes in all."
    if "against" not in report:
        return (
            f"`make bench` on {day}, commit {report['commit']}: {machine}; "
            f"`innodb_flush_log_at_trx_commit=1`.\n"
            f"{size['rounds']} rounds of {size['seconds']} s a row, {minutes}"
        )
    against, changed = report["against"], " with uncommitted changes" if report["is_changed"] else ""
    return (
        f"`make bench AGAINST={against['name']}` on {day}: this is commit "
        f"{report['commit']}{changed}, other is {against['commit']}.\n{machine}.\n"
        f"{size['rounds']} rounds, this and other in turn, {size['seconds']} s a load, "
        f"{size['paid_seconds']} s one of paid orders that waits and {size['accepted_seconds']} s one that "
        f"doesn't, {minutes}"
    )


def conclude(text: str, failures: Iterable[str]) -> int:
    """Print the result and the failures; the exit code."""
    print(f"\n{text}")
    failed = [f"bench: FAILED {failure}" for failure in failures]
    if failed:
        print("\n".join(failed), file=sys.stderr, flush=True)
    return 1 if failed else 0


def draw(report: Mapping[str, Any]) -> None:
    """Draw what the report measured over buyers, and over the size of the table."""
    buyers = {
        label: [step for step in report["buyers"] if step["load"] == load] for load, label in NAMES.items()
    }
    tables = [step | {"millions": step["coupons"] / 1_000_000} for step in report["tables"]]
    figure = drawing.side_by_side(buyers, "vus", BY_BUYERS, height=3.2, is_log=True)
    drawing.write(figure, FOLDER / "buyers.svg")
    figure = drawing.side_by_side({"coupons": tables}, "millions", BY_TABLE, height=2.8)
    drawing.write(figure, FOLDER / "table.svg")


if __name__ == "__main__":
    full = read().get("full")
    write(full)
    write_against(read(AGAINST_FILE).get("full"))
    if full:
        draw(full)
