"""docs/bench.json, what the last run of each size measured, and its figures in docs/performance.md.

The figures of a comparison of two commits are kept in docs/bench-against.json and shown in
docs/bench-against.md; docs/performance.md shows the ratios of each load. `python -m scripts.bench.page`
writes the pages and the plots from both JSON files again, after a change of a row's words.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from scripts.bench import comparison, documents, drawing, table
from scripts.bench.drawing import LINES, STYLE
from scripts.bench.load import Measured
from scripts.bench.rows import ROWS
from scripts.bench.sizes import Size
from scripts.stack import places

FOLDER = places.PROJECT / "docs" / "bench"
NAMES = {"null": "null endpoint", "coupon": "coupon, group_commit", "orders": "orders, 3 lines"}
NUMBER = StrMethodFormatter("{x:,g}")
FILE = places.PROJECT / "docs" / "bench.json"
AGAINST_FILE = places.PROJECT / "docs" / "bench-against.json"
PAGE = places.PROJECT / "docs" / "performance.md"
AGAINST_PAGE = places.PROJECT / "docs" / "bench-against.md"
FIGURES = ("<!-- figures of make bench -->\n", "<!-- end of figures -->\n")
CALLS = ("<!-- rows of make bench -->\n", "<!-- end of rows -->\n")
AGAINST = ("<!-- figures of make bench AGAINST -->\n", "<!-- end of AGAINST -->\n")
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
Step = dict[str, Any]


def report(size: Size, measured: Sequence[Measured], told: Mapping[str, Any]) -> Report:
    """All of a run as JSON has it; `told` are its circumstances, and the steps that become plots."""
    return {"measured_at": now(), **told, "size": asdict(size), "rows": rows(measured)}


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


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
        "goals": table.judged(one.row, one.figures),
        "findings": list(one.findings),
        "says": one.says,
    }


def read(file: Path = FILE) -> dict[str, Report]:
    """The last report of each size, `full` and `quick`. Raises SetupError when the file is no such thing."""
    found: dict[str, Report] = documents.read(file, _with_rows, without={})
    return found


def _with_rows(reports: Any) -> dict[str, Report]:
    return {name: reports[name] for name in reports if reports[name]["rows"]}


def keep(one: Report, *, file: Path = FILE) -> None:
    """Put the report in the place of the one before it of the same size."""
    documents.write(file, read(file) | {one["size"]["name"]: one})


def write(report: Report | None, *, page: Path = PAGE) -> None:
    """Put the figures of this run on the page, in place of those before, and what each row calls."""
    documents.put_inside(page, FIGURES, figures(report))
    documents.put_inside(page, CALLS, calls())


def write_against(report: Report | None, *, page: Path = PAGE, whole: Path = AGAINST_PAGE) -> None:
    """Put all figures of a comparison on the page `whole`, and the ratios of each load on `page`."""
    documents.put_inside(whole, AGAINST, against_figures(report))
    documents.put_inside(page, AGAINST, against_ratios(report))


def calls() -> str:
    """What each row of the table calls."""
    return documents.markdown(("row", "the call"), [(row.name, row.calls) for row in ROWS.values()])


def figures(report: Report | None) -> str:
    """The table of a run, and what it was measured on."""
    if report is None:
        return NONE_YET
    return f"{circumstances(report)}\n\n{table.markdown(report['rows'])}\n{PLOTS}"


def against_figures(report: Report | None) -> str:
    """The table of a comparison, and what it was measured on."""
    return _against(report, FIGURES_LEGEND, comparison.markdown)


def against_ratios(report: Report | None) -> str:
    """A line for each load of a comparison, and what it was measured on."""
    return _against(report, RATIOS_LEGEND, comparison.ratios_markdown)


def _against(
    report: Report | None, legend: str, table_of: Callable[[Sequence[comparison.Compared]], str]
) -> str:
    if report is None:
        return NONE_AGAINST_YET
    return f"{against_circumstances(report)}\n{legend}\n{table_of(report['rows'])}"


def against_circumstances(report: Report) -> str:
    """Both commits, machine, versions and size in a few lines."""
    told, size, against = report["circumstances"], report["size"], report["against"]
    changed = " with uncommitted changes" if report["is_changed"] else ""
    return (
        f"`make bench AGAINST={against['name']}` on {report['measured_at'][:10]}: this is commit "
        f"{report['commit']}{changed}, other is {against['commit']}.\n"
        f"{documents.machine(told)}; load average {told['load_before']:.1f} before.\n"
        f"{documents.versions(told)}.\n"
        f"{size['rounds']} rounds, this and other in turn, {size['seconds']} s a load, "
        f"{size['paid_seconds']} s one of paid orders that waits and {size['accepted_seconds']} s one that "
        f"doesn't, {report['seconds'] / 60:.0f} minutes in all."
    )


def circumstances(report: Report) -> str:
    """Machine, versions and size in a few lines."""
    told, size = report["circumstances"], report["size"]
    return (
        f"`make bench` on {report['measured_at'][:10]}, commit {report['commit']}: "
        f"{documents.machine(told)}; load average {told['load_before']:.1f} before.\n"
        f"{documents.versions(told)}; `innodb_flush_log_at_trx_commit=1`.\n"
        f"{size['rounds']} rounds of {size['seconds']} s a row, {report['seconds'] / 60:.0f} minutes in all."
    )


def draw(report: Mapping[str, Any], *, folder: Path = FOLDER) -> None:
    """Draw what the report measured over buyers, and over the size of the table."""
    with pyplot.rc_context(STYLE):
        _by_buyers(report["buyers"], folder / "buyers.svg")
        _by_table(report["tables"], folder / "table.svg")


def _by_buyers(steps: Sequence[Step], path: Path) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.2, 3.2))
    vus = sorted({step["vus"] for step in steps})
    for axes, of in ((left, "per_second"), (right, "p95_ms")):
        for (name, label), colour in zip(NAMES.items(), LINES, strict=False):
            mine = [step for step in steps if step["load"] == name]
            drawing.line(axes, mine, "vus", of, colour=colour, label=label)
        axes.set_xscale("log")
        axes.set_xticks(vus, [f"{number:,}" for number in vus])
        axes.minorticks_off()
    _from_zero(left, "answers a second, by buyers at once")
    right.set_yscale("log")
    right.yaxis.set_major_formatter(NUMBER)
    right.set_title("p95 in ms", fontsize=9)
    drawing.legend_below(figure, left, columns=3, bottom=0.2)
    drawing.write(figure, path)


def _by_table(steps: Sequence[Step], path: Path) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.2, 2.8))
    sized = [step | {"millions": step["coupons"] / 1_000_000} for step in steps]
    drawing.line(left, sized, "millions", "per_second", colour=LINES[0])
    drawing.line(right, sized, "millions", "of_null", colour=LINES[0])
    _from_zero(left, "coupons a second, by millions in the table")
    _from_zero(right, "the same × null in that moment")
    drawing.write(figure, path)


def _from_zero(axes: Axes, title: str) -> None:
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(NUMBER)
    axes.set_title(title, fontsize=9)


if __name__ == "__main__":
    full = read().get("full")
    write(full)
    write_against(read(AGAINST_FILE).get("full"))
    if full:
        draw(full)
