"""The report: `report.md` for the repository, `report.html` as one file with plots, and the figures in
docs/strategies.md. `python -m lab.compare.report` writes all of them again from the rows that are kept."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from markdown_it import MarkdownIt

from lab.bench.report import documents
from lab.compare import crash, plots, results, tables
from lab.compare.results import Row
from lab.compare.scenarios import SCENARIOS
from scripts.stack import places

FOLDER = places.PROJECT / "docs" / "lab"
TITLE = "The lab: every strategy on the same rows"
SURPRISES = "surprises.md"
REPEAT = """make lab                                                # everything, about 70 minutes
make lab STRATEGIES=fair_lock,group_commit SCENARIO=race  # some of it; other rows stay as they are
make lab SCENARIO=steps                                 # more and more callers: coupons and orders
make lab QUICK=1                                        # seconds each, into var/lab-quick"""
SIDE_BY_SIDE = "Callers served a second, and p95 of the time until they knew what their request came to."
HOW_TO_READ = (
    "Each row is a campaign of its own on one MariaDB stack. Server, database, Redis and k6 share one "
    "machine, so compare rows with each other rather than with other machines.",
    "Every request comes from another account. If they run out, their requests are repeated, and a repeated "
    "one is answered 200 with the account's coupon.",
    "`per second` counts callers that knew what their request came to; times are of one call, connecting "
    "included. `p95 until known` is the time until a caller knew, with all waits and retries.",
    "A buyer of `orders` that is answered 202 knows only that it goes on: `paid a second` is what counts.",
    "`steps_orders` is judged by the time until the buyer knew, without the first 3 s of a step. Its row has "
    "the figures of the step with most orders a second within the bounds; README.md has the wall's rules.",
    "Deadlocks and lock waits are the database server's own counters; "
    "`retries and the like` are what the shop counts in `/metrics`.",
    "Wrong rows are counted by SQL over the campaign, against its quantity, its counter and the answers.",
)
STYLE = Path(__file__).with_name("report.css")
STRATEGIES = places.PROJECT / "docs" / "strategies.md"
MARKS = ("<!-- figures of make lab -->\n", "<!-- end of figures -->\n")
COLUMNS: Mapping[str, tuple[str, str]] = {
    "steady": ("steady", ""),
    "crowd": ("crowd", ""),
    "paced": ("paced", ""),
    "pool": ("pool", ""),
    "pool, with a partner": ("pool", "partner"),
}
"""Of docs/strategies.md: a scenario and its variant, by the header of its column."""
FAULTS = (*crash.FAULTS, *crash.ISSUER)
POINTER = "What each column is, the other scenarios and the machine: [the lab's report](lab/report.md).\n"
NONE_YET = "None yet: `make lab` measures them, and writes them here.\n"


def line(row: Row) -> str:
    """One row as a line of a log."""
    exact = f"BROKEN {', '.join(row['broken'])}: {tables.wrong(row)}" if row["broken"] else "laws held"
    return (
        f"{row['scenario']:13}{tables.label(row):28}{tables.rate(row['per_second']):>8}/s  "
        f"p95 {tables.time(row['p95_ms']):>9}  {exact}"
    )


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Both files, from all rows there are; `surprises.md` beside them becomes a part of both. The report in
    the repository also has its figures in docs/strategies.md."""
    written = folder / SURPRISES
    surprises = written.read_text().strip() if written.exists() else ""
    places.write_whole(folder / "report.md", markdown(rows, surprises))
    places.write_whole(folder / "report.html", page(rows, surprises))
    if folder == FOLDER:
        documents.put_inside(STRATEGIES, MARKS, strategies(rows))


def markdown(rows: Sequence[Row], surprises: str) -> str:
    return "\n\n".join(part.rstrip() for part, figure in _parts(rows, surprises) if not figure) + "\n"


def page(rows: Sequence[Row], surprises: str) -> str:
    """The same as one file, with a plot of each scenario."""
    drawn = plots.all_of(rows)
    render = MarkdownIt("commonmark", {"html": False}).enable("table").render
    parts = [_figure(drawn, part) if figure else render(part) for part, figure in _parts(rows, surprises)]
    body = "\n".join(parts).replace("<table>", '<div class="wide"><table>')
    body = body.replace("</table>", "</table></div>")
    body = re.sub(r"<td>(?=broken|[^<]*not met)", '<td class="bad">', re.sub(r">\n<", "><", body))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>\n{STYLE.read_text()}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _parts(rows: Sequence[Row], surprises: str) -> Iterator[tuple[str, bool]]:
    """Everything in its order, as Markdown; a part may be the name of a plot instead, which the page has."""
    yield f"# {TITLE}\n\n{_list(tables.summary(rows))}", False
    yield "wrong", True
    if surprises:
        yield f"## What surprised\n\n{surprises}", False
    yield f"## Side by side\n\n{SIDE_BY_SIDE}\n\n{documents.markdown(*tables.overview(rows))}", False
    for name, scenario in SCENARIOS.items():
        some = [row for row in rows if row["scenario"] == name]
        if not some:
            continue
        yield f"## {name}\n\n{scenario.says}.", False
        yield name, True
        if ramps := [row for row in some if "wall" in row]:
            yield documents.markdown(*tables.ramps(ramps)), False
            for row in ramps:
                yield f"### {tables.label(row)}\n\n{tables.evidence(row)}", False
                yield plots.name_of_ramp(row), True
        for columns in (tables.SPEED, tables.CORRECTNESS):
            yield documents.markdown(*tables.cells(columns, some)), False
        if notes := _list(tables.notes(some)):
            yield notes, False
    yield f"## How to read it\n\n{_list(HOW_TO_READ)}", False
    yield f"## Measured on\n\n{_list(_circumstances(rows))}", False
    yield f"## To repeat\n\n```\n{REPEAT}\n```", False


def _list(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _figure(drawn: Mapping[str, str], name: str) -> str:
    caption = "<figcaption>What no lock gets wrong</figcaption>" if name == "wrong" else ""
    return f"<figure>{drawn[name]}{caption}</figure>" if name in drawn else ""


def _circumstances(rows: Sequence[Row]) -> Iterator[str]:
    """Each set of circumstances once, with the commits that were measured on it."""
    commits: dict[str, dict[str, None]] = {}
    for row in rows:
        commits.setdefault(json.dumps(row["circumstances"], sort_keys=True), {})[row["commit"]] = None
    for text, of in commits.items():
        one = json.loads(text)
        yield (
            f"{', '.join(of)}: {documents.machine(one)}; load average {one['load_before']} "
            f"before; {documents.versions(one)}; innodb_flush_log_at_trx_commit=1"
        )


def strategies(rows: Sequence[Row]) -> str:
    """Callers served a second and p95 of a call; and, from the crashes, the wait for the next coupon."""
    found = {(row["strategy"], row["scenario"], row["variant"]): row for row in rows if not row["is_quick"]}
    coupons = [key for key in found if SCENARIOS[key[1]].sort == "coupons"]
    names = dict.fromkeys(strategy for strategy, _, _ in coupons)
    cells = [[f"`{one}`", *(_cell(found.get((one, *place))) for place in COLUMNS.values())] for one in names]
    waits = [[f"`{row['strategy']}`", *_waits(row)] for row in found.values() if row["scenario"] == "crash"]
    parts = [
        documents.markdown(["strategy", *header], lines, rules=["---", *["---:"] * len(header)])
        for header, lines in ((COLUMNS, cells), (FAULTS, waits))
        if lines
    ]
    return "\n".join([*parts, POINTER]) if parts else NONE_YET


def _cell(row: Row | None) -> str:
    return f"{tables.rate(row['per_second'])}/s, {tables.time(row['p95_ms'])}" if row else tables.NO_FIGURE


def _waits(row: Row) -> Iterator[str]:
    seconds = {one["fault"]: one["seconds"] for one in row["faults"]}
    return (tables.seconds(seconds.get(name)) for name in FAULTS)


if __name__ == "__main__":
    write(FOLDER, results.read(FOLDER))
