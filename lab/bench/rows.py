"""The rows of the benchmark, which `rows.toml` declares, with their goals; how much of each is measured; and
their sums over several rounds."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

VUS = 100
"""Buyers at once if a row has no number of its own, each with one request under way at any time."""
LARGEST = {"max_ms", "longest_seconds", "overloaded", "peak_mib"}
"""Figures of which the largest of several rounds counts, of all others the median."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What it calls, and its goals by figure: of a run by itself; of ratios to another commit; and of figures
    beside another commit."""

    calls: str
    goals: Mapping[str, str] = field(default_factory=dict)
    ratios: Mapping[str, str] = field(default_factory=dict)
    against: Mapping[str, str] = field(default_factory=dict)


ROWS = {
    key: Row(**words) for key, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text()).items()
}
COMPARED = [key for key, row in ROWS.items() if row.ratios or row.against]
"""The rows that are measured beside another commit."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured, as `sizes.toml` says."""

    name: str
    seconds: int
    rounds: int
    users: int
    connections: int
    crowd_vus: int
    crowd_seconds: int
    hot_vus: int
    paid_seconds: int
    accounts: int
    tables: Sequence[int]
    filled_orders: int


_SIZES = tomllib.loads(Path(__file__).with_name("sizes.toml").read_text())
FULL, QUICK = (Size(**{"name": name, **_SIZES["full"], **_SIZES[name]}) for name in ("full", "quick"))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row measured once: figures, whose last word is their unit; errors; a remark; and what is drawn."""

    row: str
    figures: Mapping[str, float] = field(default_factory=dict)
    findings: Sequence[str] = ()
    says: str = ""
    steps: Sequence[Mapping[str, Any]] = ()


def summed_up(measured: Iterable[Measured]) -> list[dict[str, Any]]:
    """Each row once, as JSON has it, with the least and most of several rounds, and whether goals are met."""
    by_row: dict[str, list[Measured]] = {}
    for one in measured:
        by_row.setdefault(one.row, []).append(one)
    return [_summed_up(row, rounds) for row, rounds in by_row.items()]


def _summed_up(row: str, rounds: Sequence[Measured]) -> dict[str, Any]:
    each = {name: [one.figures[name] for one in rounds] for name in rounds[0].figures}
    figures = {name: typical(name, numbers) for name, numbers in each.items()}
    return {
        "row": row,
        "figures": figures,
        "spread": {name: spread(numbers) for name, numbers in each.items() if len(numbers) > 1},
        "goals": judged(ROWS[row].goals, figures),
        "findings": [finding for one in rounds for finding in one.findings],
        "says": rounds[0].says,
        "steps": rounds[0].steps,
    }


def typical(name: str, numbers: Sequence[float]) -> float:
    return round((max if name in LARGEST else median)(numbers), 3)


def spread(numbers: Sequence[float]) -> tuple[float, float]:
    return round(min(numbers), 3), round(max(numbers), 3)


def judged(goals: Mapping[str, str], figures: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The goals (`≥ 834` or `< 0.1`) by figure, and whether these figures meet them."""
    return {
        name: {"goal": goal, "value": figures[name], "is_met": _is_met(figures[name], *goal.split())}
        for name, goal in goals.items()
    }


def _is_met(number: float, sign: str, bound: str) -> bool:
    return number >= float(bound) if sign == "≥" else number < float(bound)
