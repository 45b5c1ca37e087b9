"""The report as text: its summary, and the tables of each scenario, with declared columns."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from lab.compare.results import Row
from lab.compare.scenarios import SCENARIOS

NO_FIGURE = "–"
PUBLISHED: Mapping[tuple[str, str], str] = {
    ("paced", "optimistic"): "92.69/s, p95 241 ms",
    ("baseline", "unsafe"): "7,836 good of 30,000, 3,767 wrong rows",
    ("crowd", "spin_lock"): "about 311/s, p95 5.5 s",
    ("crowd", "fair_lock"): "500.8/s, p95 2.68 s",
    ("steady", "redis_gate"): "486.4/s, p95 9.75 ms",
    ("orders", "redis_gate"): "100.2/s, p95 44.3 ms",
    ("pool", "code_pool"): "1,500/s, 1,000 of 1,500",
}
"""Figures that others have published for comparable loads, on their machines."""


def label(row: Row, by: str = "strategy") -> str:
    return f"{row[by]}, {row['variant']}" if row["variant"] else str(row[by])


def rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:,.1f}"


def time(milliseconds: float) -> str:
    """Never broken between number and unit."""
    return f"{milliseconds / 1000:,.2f}\u00a0s" if milliseconds >= 1000 else f"{milliseconds:,.0f}\u00a0ms"


def seconds(number: float | None) -> str:
    return NO_FIGURE if number is None else time(number * 1000)


def wrong(row: Row) -> str:
    """How many rows are wrong, of which kind."""
    return ", ".join(f"{number:,} {kind}" for kind, number in row["wrong"].items())


def _time_of(name: str, row: Row) -> str:
    return time(row[name])


def _answers(row: Row) -> str:
    names = {"0": "no answer"}
    answers = [f"{count:,} × {names.get(answer, answer)}" for answer, count in row["answers"].items()]
    tickets = (f"{count:,} tickets {status.replace('_', ' ')}" for status, count in row["tickets"].items())
    return ", ".join([*answers, *tickets])


def _published(row: Row) -> str:
    return PUBLISHED.get((row["scenario"], row["strategy"]), NO_FIGURE)


def _counted(row: Row) -> str:
    names = {name.removeprefix("firstcome_").removesuffix("_total"): n for name, n in row["counted"].items()}
    return ", ".join(f"{name} {number:,}" for name, number in names.items()) or NO_FIGURE


def _faults(row: Row) -> str:
    costs = (f"{one['fault']} ({one['times']} ×) {seconds(one['seconds'])}" for one in row["faults"])
    return ", ".join(costs) or NO_FIGURE


@dataclass(frozen=True)
class Column:
    """`cell` is its text for a row; it is left out where no row needs it."""

    header: str
    cell: Callable[[Row], str]
    is_needed: Callable[[Row], object] = lambda row: True


NAME = Column("strategy", label)
SPEED = (
    NAME,
    Column("answers", _answers),
    Column("per second", lambda row: rate(row["per_second"])),
    Column(
        "paid a second",
        lambda row: rate(row["settled_per_second"]),
        is_needed=lambda row: "settled_per_second" in row,
    ),
    *(Column(name, partial(_time_of, f"{name}_ms")) for name in ("p50", "p95", "p99", "max")),
    Column(
        "p95 until known",
        partial(_time_of, "settled_p95_ms"),
        is_needed=lambda row: row["settled_p95_ms"] > 1.2 * row["p95_ms"] + 50,
    ),
    Column("the wall", lambda row: wall(row), is_needed=lambda row: "wall" in row),
    Column("published (other machines)", _published, is_needed=lambda row: _published(row) != NO_FIGURE),
)
CORRECTNESS = (
    NAME,
    Column("laws", lambda row: f"broken: {', '.join(row['broken'])}" if row["broken"] else "held"),
    Column("wrong rows", lambda row: wrong(row) or "0"),
    Column("deadlocks", lambda row: f"{row['database']['deadlocks']:,.0f}"),
    Column("lock waits", lambda row: f"{row['database']['row_lock_waits']:,.0f}"),
    Column("retries and the like", _counted),
    Column("next coupon after", _faults, is_needed=lambda row: row.get("faults")),
    Column(
        "thresholds",
        lambda row: ", ".join(f"{goal}: {'met' if met else 'not met'}" for goal, met in row["goals"].items()),
        is_needed=lambda row: row["goals"],
    ),
    Column("measured", lambda row: f"{row['measured_at'][:10]} {row['commit']}"),
)
Cells = tuple[Sequence[str], Sequence[Sequence[str]]]


def cells(columns: Sequence[Column], rows: Sequence[Row]) -> Cells:
    """The headers of the columns that these rows need, and the lines."""
    needed = [column for column in columns if any(column.is_needed(row) for row in rows)]
    return [column.header for column in needed], [[column.cell(row) for column in needed] for row in rows]


def overview(rows: Sequence[Row]) -> Cells:
    """Throughput and p95 of every strategy of coupons in every scenario."""
    figures: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for row in rows:
        if SCENARIOS[row["scenario"]].sort == "coupons":
            column = label(row, "scenario")
            columns[column] = None
            text = f"{rate(row['per_second'])}/s, {time(row['settled_p95_ms'])}"
            figures.setdefault(row["strategy"], {})[column] = text
    lines = [[name, *(one.get(column, NO_FIGURE) for column in columns)] for name, one in figures.items()]
    return ["strategy", *columns], lines


def summary(rows: Sequence[Row]) -> Iterator[str]:
    """The most important results, in sentences."""
    safe = [row for row in rows if not row["is_control"]]
    broken = [row for row in safe if row["broken"] or row["findings"]]
    yield f"{len(safe) - len(broken)} of {len(safe)} measurements of safe strategies left nothing to find."
    for row in broken:
        yield f"{label(row)} in {row['scenario']}: {'; '.join(row['findings']) or wrong(row)}."
    for row in rows:
        if row["is_control"]:
            yield f"`{row['strategy']}`, without a lock, in {row['scenario']}: {wrong(row) or 'all right'}."
    for scenario in ("steady", "crowd", "paced", "orders"):
        found = [row for row in safe if row["scenario"] == scenario and not row["findings"]]
        if found:
            fastest = max(found, key=lambda row: row["per_second"])
            quickest = min(found, key=lambda row: row["settled_p95_ms"])
            yield (
                f"{scenario}: most a second `{fastest['strategy']}` ({rate(fastest['per_second'])}/s), "
                f"soonest known `{quickest['strategy']}` (p95 {time(quickest['settled_p95_ms'])})."
            )
    for row in rows:
        if row.get("wall"):
            yield f"{row['scenario']}: the wall of {label(row)} is at {wall(row)}."


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """Remarks on single rows of a scenario."""
    for row in rows:
        if row["unsure"]:
            yield f"{label(row)}: {row['unsure']:,} callers without a definite answer"
        yield from (f"{label(row)}: {finding}" for finding in row["findings"])
        if row["steps"] and "wall" not in row:
            yield f"{label(row)}: {breaks(row['steps'])}"


def wall(row: Row) -> str:
    """Where a ramp ended, and at what."""
    if not row["wall"]:
        return f"none up to {row['steps'][-1]['vus']:,} buyers"
    return f"{row['wall']['vus']:,} buyers: {row['wall']['name']}"


def evidence(row: Row) -> str:
    """What says that this is the wall of a ramp."""
    found = row["wall"]
    if not found:
        return f"No step was too much, up to {row['steps'][-1]['vus']:,} buyers."
    also = f" Also at a bound: {'; '.join(found['also'])}." if found["also"] else ""
    where = f"{found['vus']:,} buyers are too many: {found['why']}."
    return f"{where} The wall is {found['name']}: {found['says']}.{also}"


def ramps(rows: Sequence[Row]) -> Cells:
    """Every step of every ramp; times are until the buyer knew."""
    lines = [
        [
            label(row),
            f"{step['vus']:,}",
            rate(step["per_second"]),
            *(time(step[f"{name}_ms"]) for name in ("p50", "p95", "p99", "max")),
            f"{step['failed']:.1%}",
        ]
        for row in rows
        for step in row["steps"]
    ]
    return ["strategy", "buyers", "per second", "p50", "p95", "p99", "max", "failed"], lines


def breaks(steps: Sequence[Mapping[str, float]]) -> str:
    """Where throughput stops growing by a tenth, and where p95 passes twice that of the step before."""
    texts = [f"{step['vus']}: {rate(step['per_second'])}/s, p95 {time(step['p95_ms'])}" for step in steps]
    pairs = list(itertools.pairwise(steps))
    grown = [after for before, after in pairs if after["per_second"] > 1.1 * before["per_second"]]
    last = grown[-1]["vus"] if grown else steps[0]["vus"]
    slow = [str(after["vus"]) for before, after in pairs if after["p95_ms"] > 2 * before["p95_ms"]]
    jump = f"p95 more than doubles at {', '.join(slow)}" if slow else "p95 never doubles"
    return f"{'; '.join(texts)}. Throughput stops growing at {last} callers; {jump}."
