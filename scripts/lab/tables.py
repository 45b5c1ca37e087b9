"""The report as text: what it says in short, and a table for each scenario, for whatever writes it down."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from scripts.lab.scenarios import SCENARIOS

Row = dict[str, Any]
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


@dataclass(frozen=True)
class Table:
    """A scenario's rows as words, in parts that fit a page: how quick they were, and how right. The first
    column of each is the strategy's name."""

    scenario: str
    says: str
    parts: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]]
    notes: Sequence[str]


def in_short(rows: Sequence[Row]) -> Iterator[str]:
    """What a reader wants to know first."""
    safe = [row for row in rows if not row["is_control"]]
    broken = [row for row in safe if row["broken"] or row["findings"]]
    yield f"{len(safe) - len(broken)} of {len(safe)} measurements of safe strategies left nothing to find."
    for row in broken:
        told = "; ".join(row["findings"]) or wrong(row)
        yield f"{label(row)} in {row['scenario']}: {told}."
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


def overview(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Throughput and p95 of every strategy of coupons in every scenario."""
    of_coupons = [row for row in rows if SCENARIOS[row["scenario"]].sort == "coupons"]
    columns = list(dict.fromkeys(_column(row) for row in of_coupons))
    cells: dict[str, dict[str, str]] = {}
    for row in of_coupons:
        cells.setdefault(row["strategy"], {})[_column(row)] = (
            f"{rate(row['per_second'])}/s, {time(row['settled_p95_ms'])}"
        )
    lines = [
        [strategy, *(told.get(column, NO_FIGURE) for column in columns)] for strategy, told in cells.items()
    ]
    return ["strategy", *columns], lines


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """One a scenario that has rows."""
    for name, scenario in SCENARIOS.items():
        some = [row for row in rows if row["scenario"] == name]
        if some:
            parts = [
                (list(columns), [[tell(row) for tell in columns.values()] for row in some])
                for columns in (_speed(some), _correctness(some))
            ]
            yield Table(name, scenario.says, parts, list(_notes(some)))


def label(row: Row) -> str:
    return f"{row['strategy']}, {row['variant']}" if row["variant"] else str(row["strategy"])


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


def _column(row: Row) -> str:
    return f"{row['scenario']}, {row['variant']}" if row["variant"] else str(row["scenario"])


def _speed(rows: Sequence[Row]) -> dict[str, Any]:
    """What to tell of each row, by the column's header; what none of them has is left out."""
    columns: dict[str, Any] = {
        "strategy": label,
        "answers": _answers,
        "per second": lambda row: rate(row["per_second"]),
    }
    if any("settled_per_second" in row for row in rows):
        columns["paid a second"] = lambda row: rate(row["settled_per_second"])
    for name in ("p50", "p95", "p99", "max"):
        columns[name] = partial(_time_of, f"{name}_ms")
    if any(row["settled_p95_ms"] > 1.2 * row["p95_ms"] + 50 for row in rows):
        columns["p95 until known"] = partial(_time_of, "settled_p95_ms")
    if any(_published(row) != NO_FIGURE for row in rows):
        columns["published (other machines)"] = _published
    return columns


def _correctness(rows: Sequence[Row]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "strategy": label,
        "laws": lambda row: f"broken: {', '.join(row['broken'])}" if row["broken"] else "held",
        "wrong rows": lambda row: wrong(row) or "0",
        "deadlocks": lambda row: f"{row['database']['deadlocks']:,.0f}",
        "lock waits": lambda row: f"{row['database']['row_lock_waits']:,.0f}",
        "retries and the like": _counted,
    }
    if any(row.get("faults") for row in rows):
        columns["next coupon after"] = _faults
    if any(row["goals"] for row in rows):
        columns["thresholds"] = _goals
    return columns | {"measured": lambda row: f"{row['measured_at'][:10]} {row['commit']}"}


def _time_of(name: str, row: Row) -> str:
    return time(row[name])


def _published(row: Row) -> str:
    return PUBLISHED.get((row["scenario"], row["strategy"]), NO_FIGURE)


def _answers(row: Row) -> str:
    told = [
        f"{count:,} × {'no answer' if answer == '0' else answer}" for answer, count in row["answers"].items()
    ]
    told += [f"{count:,} tickets {status.replace('_', ' ')}" for status, count in row["tickets"].items()]
    return ", ".join(told)


def _counted(row: Row) -> str:
    names = {name.removeprefix("firstcome_").removesuffix("_total"): n for name, n in row["counted"].items()}
    return ", ".join(f"{name} {number:,}" for name, number in names.items()) or NO_FIGURE


def _faults(row: Row) -> str:
    told = [f"{one['fault']} ({one['times']} ×) {seconds(one['seconds'])}" for one in row["faults"]]
    return ", ".join(told) or NO_FIGURE


def _goals(row: Row) -> str:
    return ", ".join(f"{goal}: {'met' if met else 'not met'}" for goal, met in row["goals"].items())


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["unsure"]:
            yield f"{label(row)}: {row['unsure']:,} callers never heard what their request came to"
        yield from (f"{label(row)}: {finding}" for finding in row["findings"])
        if row["steps"]:
            yield f"{label(row)}: {breaks(row['steps'])}"


def breaks(steps: Sequence[Mapping[str, float]]) -> str:
    """Where throughput stops growing by a tenth, and where p95 passes twice that of the step before."""
    told = [f"{step['vus']}: {rate(step['per_second'])}/s, p95 {time(step['p95_ms'])}" for step in steps]
    pairs = list(itertools.pairwise(steps))
    grown = [after for before, after in pairs if after["per_second"] > 1.1 * before["per_second"]]
    last = grown[-1]["vus"] if grown else steps[0]["vus"]
    slow = [after["vus"] for before, after in pairs if after["p95_ms"] > 2 * before["p95_ms"]]
    jump = f"p95 more than doubles at {', '.join(str(vus) for vus in slow)}" if slow else "p95 never doubles"
    return f"{'; '.join(told)}. Throughput stops growing at {last} callers; {jump}."
