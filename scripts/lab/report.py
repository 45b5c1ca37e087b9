"""Writing the report: `report.md` for readers of the repository, `report.html` as one file with plots, and
the figures in docs/strategies.md."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from scripts.bench import documents
from scripts.lab import crash, plots, tables
from scripts.stack import places

Row = dict[str, Any]
TITLE = "The lab: every strategy on the same rows"
SURPRISES = "surprises.md"
REPEAT = """make lab                                                # everything, about 45 minutes
make lab STRATEGIES=fair_lock,group_commit SCENARIO=race  # some of it; other rows stay as they are
make lab QUICK=1                                        # seconds each, into var/lab-quick"""
SIDE_BY_SIDE = "Callers served a second, and p95 of the time until they knew what their request came to."
HOW_TO_READ = (
    "Each row is a campaign of its own on one MariaDB stack. Server, database, Redis and k6 share one "
    "machine, so compare rows with each other rather than with other machines.",
    "Every request comes from another account; should they run out they begin again, and a repeated one is "
    "answered 200 with the coupon it has.",
    "`per second` counts callers who knew what their request came to; times are of one call, connecting "
    "included. `p95 until known` is the time until a caller knew, with all the waiting and coming again.",
    "A buyer of `orders` who is told 202 knows only that it goes on: `paid a second` is what counts.",
    "Deadlocks and lock waits are the database server's own counters; "
    "`retries and the like` are what the shop counts in `/metrics`.",
    "Wrong rows are counted by SQL over the campaign, against its quantity, its counter and the answers.",
)
STYLE = """
:root { color-scheme: light dark;
  --ink: #1d2430; --paper: #fff; --line: #d5dae1; --dim: #5b6675; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --paper: #14181e; --line: #343c47; --dim: #9aa5b4; --bad: #ff8a80; }
}
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { margin-top: 2.5rem; }
p, li { max-width: 46rem; } figcaption { color: var(--dim); } .bad { color: var(--bad); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .8rem; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .4rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; min-width: 4rem; }
td:first-child { font-weight: 600; position: sticky; left: 0; background: var(--paper); }
figure { margin: 1rem 0; overflow-x: auto; }
svg { width: 100%; min-width: 32rem; max-width: 46rem; height: auto; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); font-size: .85rem; }
"""
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
POINTER = "What each column is, the other scenarios and the machine: [the lab's report](lab/report.md).\n"
NONE_YET = "None yet: `make lab` measures them, and writes them here.\n"


def line(row: Row) -> str:
    """One row as a line of a log."""
    exact = f"BROKEN {', '.join(row['broken'])}: {tables.wrong(row)}" if row["broken"] else "laws held"
    return (
        f"{row['scenario']:9}{tables.label(row):28}{tables.rate(row['per_second']):>8}/s  "
        f"p95 {tables.time(row['p95_ms']):>9}  {exact}"
    )


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Both files, from all rows there are; `surprises.md` beside them is told in both."""
    told = folder / SURPRISES
    surprises = told.read_text().strip() if told.exists() else ""
    places.write_whole(folder / "report.md", markdown(rows, surprises))
    places.write_whole(folder / "report.html", page(rows, surprises))


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
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _parts(rows: Sequence[Row], surprises: str) -> Iterator[tuple[str, bool]]:
    """Everything in its order, as Markdown; a part may be the name of a plot instead, which the page has."""
    yield f"# {TITLE}", False
    yield _list(tables.in_short(rows)), False
    yield "wrong", True
    if surprises:
        yield f"## What surprised\n\n{surprises}", False
    yield f"## Side by side\n\n{SIDE_BY_SIDE}\n\n{documents.markdown(*tables.overview(rows))}", False
    for table in tables.tables(rows):
        yield f"## {table.scenario}\n\n{table.says}.", False
        yield table.scenario, True
        yield "\n".join(documents.markdown(*part) for part in table.parts), False
        if table.notes:
            yield _list(table.notes), False
    yield f"## How to read it\n\n{_list(HOW_TO_READ)}", False
    yield f"## Measured on\n\n{_list(_circumstances(rows))}", False
    yield f"## To repeat\n\n```\n{REPEAT}\n```", False


def _list(texts: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _figure(drawn: Mapping[str, str], name: str) -> str:
    told = "<figcaption>What no lock gets wrong</figcaption>" if name == "wrong" else ""
    return f"<figure>{drawn[name]}{told}</figure>" if name in drawn else ""


def _circumstances(rows: Sequence[Row]) -> Iterator[str]:
    """Each set of circumstances once, with the commits that were measured on it."""
    commits: dict[str, list[str]] = {}
    for row in rows:
        commits.setdefault(json.dumps(row["circumstances"], sort_keys=True), []).append(row["commit"])
    for told, of in commits.items():
        one = json.loads(told)
        yield (
            f"{', '.join(dict.fromkeys(of))}: {documents.machine(one)}; load average {one['load_before']} "
            f"before; {documents.versions(one)}; innodb_flush_log_at_trx_commit=1"
        )


def write_strategies(rows: Sequence[Row], *, page: Path = STRATEGIES) -> None:
    """Put the figures of these rows into docs/strategies.md, in place of those before."""
    documents.put_inside(page, MARKS, strategies(rows))


def strategies(rows: Sequence[Row]) -> str:
    """Callers served a second and p95 of a call; and, from the crashes, the wait for the next coupon."""
    found = {(row["strategy"], row["scenario"], row["variant"]): row for row in rows if not row["is_quick"]}
    names = dict.fromkeys(strategy for strategy, scenario, _ in found if scenario != "orders")
    cells = [[f"`{one}`", *(_cell(found.get((one, *place))) for place in COLUMNS.values())] for one in names]
    crashed = [(strategy, row) for (strategy, scenario, _), row in found.items() if scenario == "crash"]
    waits = [[f"`{strategy}`", *_waits(row)] for strategy, row in crashed]
    both = ((COLUMNS, cells), ((*crash.FAULTS, *crash.ISSUER), waits))
    parts = [
        documents.markdown(["strategy", *header], lines, rules=["---", *["---:"] * len(header)])
        for header, lines in both
        if lines
    ]
    return "\n".join([*parts, POINTER]) if parts else NONE_YET


def _cell(row: Row | None) -> str:
    if row is None:
        return tables.NO_FIGURE
    return f"{tables.rate(row['per_second'])}/s, {tables.time(row['p95_ms'])}"


def _waits(row: Row) -> list[str]:
    seconds = {one["fault"]: one["seconds"] for one in row["faults"]}
    return [tables.seconds(seconds.get(name)) for name in (*crash.FAULTS, *crash.ISSUER)]
