"""The measured figures in docs/strategies.md: between two marks, and nobody's to write but the lab's."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts import places
from scripts.lab import crash, tables
from scripts.lab.results import Row

PAGE = places.PROJECT / "docs" / "strategies.md"
BEGIN, END = "<!-- figures of make lab -->\n", "<!-- end of figures -->\n"
COLUMNS: Mapping[str, tuple[str, str]] = {
    "steady": ("steady", ""),
    "crowd": ("crowd", ""),
    "paced": ("paced", ""),
    "pool": ("pool", ""),
    "pool, with a partner": ("pool", "partner"),
}
"""A scenario and its variant, by the header of its column."""
REPORT = "What each column is, the other scenarios and the machine: [the lab's report](lab/report.md).\n"
NONE_YET = "None yet: `make lab` measures them, and writes them here.\n"


def write(rows: Sequence[Row], *, page: Path = PAGE) -> None:
    """Put the figures of these rows on the page, in place of those before."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    places.write_whole(page, before + BEGIN + rendered(rows) + END + after)


def shown(*, page: Path = PAGE) -> str:
    """The figures that are on the page."""
    return page.read_text().partition(BEGIN)[2].partition(END)[0]


def rendered(rows: Sequence[Row]) -> str:
    """Callers served a second and p95 of a call; and, from the crashes, the wait for the next coupon."""
    found = {(row["strategy"], row["scenario"], row["variant"]): row for row in rows if not row["is_quick"]}
    strategies = [strategy for strategy, scenario, _ in found if scenario != "orders"]
    parts = [
        _table(
            ["strategy", *COLUMNS],
            [
                [f"`{one}`", *(_cell(found.get((one, *place))) for place in COLUMNS.values())]
                for one in dict.fromkeys(strategies)
            ],
        ),
        _table(
            ["strategy", *crash.FAULTS, *crash.ISSUER],
            [
                [f"`{strategy}`", *_waits(row)]
                for (strategy, scenario, _), row in found.items()
                if scenario == "crash"
            ],
        ),
    ]
    return "\n".join(part for part in (*parts, REPORT) if part) if any(parts) else NONE_YET


def _cell(row: Row | None) -> str:
    if row is None:
        return tables.NO_FIGURE
    return f"{tables.rate(row['per_second'])}/s, {tables.time(row['p95_ms'])}"


def _waits(row: Row) -> list[str]:
    seconds = {one["fault"]: one["seconds"] for one in row["faults"]}
    waits = [seconds.get(name) for name in (*crash.FAULTS, *crash.ISSUER)]
    return [tables.NO_FIGURE if wait is None else tables.time(wait * 1000) for wait in waits]


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Nothing where there are no lines."""
    rules = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, rules, *lines)) if lines else ""
