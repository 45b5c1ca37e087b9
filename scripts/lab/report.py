"""Writing the report: `report.md` for whoever reads the repository, `report.html` as one file with plots."""

import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts import places
from scripts.lab import plots, tables
from scripts.lab.tables import Table

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
p, li { max-width: 46rem; } .dim, figcaption { color: var(--dim); } .bad { color: var(--bad); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
td { max-width: 20rem; } th { white-space: nowrap; }
td:first-child { font-weight: 600; white-space: nowrap; position: sticky; left: 0; background: var(--paper); }
figure { margin: 1rem 0; overflow-x: auto; }
svg { width: 100%; min-width: 32rem; max-width: 46rem; height: auto; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); font-size: .85rem; }
"""


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
    parts = [f"# {TITLE}", _list(tables.in_short(rows))]
    if surprises:
        parts.append(f"## What surprised\n{surprises}")
    parts += [
        "## Side by side",
        SIDE_BY_SIDE,
        _markdown_table(*tables.overview(rows)),
    ]
    for table in tables.tables(rows):
        parts += [
            f"## {table.scenario}",
            f"{table.says}.",
            _markdown_table(table.header, table.lines),
            _list(table.notes),
        ]
    parts += ["## How to read it", _list(HOW_TO_READ), "## Measured on", _list(_circumstances(rows))]
    parts += ["## To repeat", f"```\n{REPEAT}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def page(rows: Sequence[Row], surprises: str) -> str:
    drawn = plots.all_of(rows)
    parts = [
        f"<h1>{TITLE}</h1>",
        _items(tables.in_short(rows)),
        _figure(drawn, "wrong", "What no lock gets wrong"),
    ]
    if surprises:
        parts.append(f"<h2>What surprised</h2>{_prose(surprises)}")
    parts.append(f"<h2>Side by side</h2><p>{SIDE_BY_SIDE}</p>")
    parts.append(_table(*tables.overview(rows)))
    for table in tables.tables(rows):
        parts.append(_section(table, drawn))
    parts += ["<h2>How to read it</h2>", _items(HOW_TO_READ)]
    parts += ["<h2>Measured on</h2>", _items(_circumstances(rows))]
    parts.append(f"<h2>To repeat</h2><pre>{html.escape(REPEAT)}</pre>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _circumstances(rows: Sequence[Row]) -> Iterator[str]:
    """Each set of circumstances once, with the commits that were measured on it."""
    commits: dict[str, list[str]] = {}
    for row in rows:
        commits.setdefault(json.dumps(row["circumstances"], sort_keys=True), []).append(row["commit"])
    for told, of in commits.items():
        one = json.loads(told)
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
        yield (
            f"{', '.join(dict.fromkeys(of))}: {one['cores']} cores of {one['processor']}, "
            f"{one['memory_gib']} GB, {one['system']}; load average {one['load_before']} before; {versions}; "
            "innodb_flush_log_at_trx_commit=1"
        )


def _list(texts: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def _section(table: Table, drawn: Any) -> str:
    return (
        f"<h2>{table.scenario}</h2><p>{_text(table.says)}.</p>"
        f"{_figure(drawn, table.scenario, '')}{_table(table.header, table.lines)}{_items(table.notes)}"
    )


def _figure(drawn: Any, name: str, caption: str) -> str:
    told = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure>{drawn[name]}{told}</figure>" if name in drawn else ""


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in line)}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    is_bad = text.startswith("broken") or "not met" in text
    return f'<td class="bad">{_text(text)}</td>' if is_bad else f"<td>{_text(text)}</td>"


def _items(texts: Sequence[str] | Iterator[str]) -> str:
    items = "".join(f"<li>{_text(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def _prose(markdown_text: str) -> str:
    """Paragraphs and flat lists, which is all that the hand-written part is made of."""
    told = []
    for block in markdown_text.split("\n\n"):
        items = block.split("\n- ")
        if items[0].startswith("- "):
            told.append(_items([items[0].removeprefix("- "), *items[1:]]))
        else:
            told.append(f"<p>{_text(block)}</p>")
    return "".join(told)


def _text(text: str) -> str:
    """Escaped, with `code` as code and **what matters** as strong."""
    marked = _marked(html.escape(text), "`", "code")
    return _marked(marked, "**", "strong")


def _marked(text: str, mark: str, tag: str) -> str:
    """The text with every second piece between the marks inside the tag."""
    pieces = text.split(mark)
    return "".join(f"<{tag}>{piece}</{tag}>" if index % 2 else piece for index, piece in enumerate(pieces))
