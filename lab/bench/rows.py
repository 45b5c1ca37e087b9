"""The rows of the benchmark, which `rows.toml` declares, with their goals; how much of each is measured; and
their sums over several rounds."""

import operator
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

LARGEST = {"max_ms", "longest_seconds", "overloaded", "peak_mib"}
"""Figures of which the largest of several rounds counts, of all others the median."""


def _read(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name(name).read_text())


USUAL = {"script": "", "k6": {}, "times": "http_req_duration", "needs": "", "makes": []}
USUAL |= {"goals": {}, "ratios": {}, "against": {}}
ROWS = {key: SimpleNamespace(**USUAL | words) for key, words in _read("rows.toml").items()}
"""As `rows.toml` says, besides what each calls and its part."""
COMPARED = [key for key, row in ROWS.items() if row.ratios or row.against]
"""The rows that are measured beside another commit."""
_SIZES = _read("sizes.toml")
FULL, QUICK, SMALL = (SimpleNamespace(**{"name": name, **_SIZES["full"], **_SIZES[name]}) for name in _SIZES)
BUDGET = ["null", "coupon", "sold_out", "orders", "points_orders", "paid", "wallet", "idle"]
"""What CI measures beside the last release, by processor time."""
MOST_PROCESSOR = 1.15
"""Times the other commit's, in each of the rounds: neighbours alone make a tenth."""


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
    found = []
    for row, rounds in by_row.items():
        all_of = {name: sorted(round(one.figures[name], 3) for one in rounds) for name in rounds[0].figures}
        figures = {
            name: numbers[-1] if name in LARGEST else round(median(numbers), 3)
            for name, numbers in all_of.items()
        }
        spread = {name: (numbers[0], numbers[-1]) for name, numbers in all_of.items() if len(rounds) > 1}
        findings = [finding for one in rounds for finding in one.findings]
        kept: dict[str, Any] = {"row": row, "figures": figures, "spread": spread, "findings": findings}
        kept |= {"goals": judged(ROWS[row].goals, figures), "says": rounds[0].says, "steps": rounds[0].steps}
        found.append(kept)
    return found


def judged(goals: Mapping[str, str], figures: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The goals (`≥ 834` or `< 0.1`) by figure, and whether these figures meet them."""
    found = {}
    for name, goal in goals.items():
        sign, bound = goal.split()
        is_met = {"≥": operator.ge, "<": operator.lt}[sign](figures[name], float(bound))
        found[name] = {"goal": goal, "value": figures[name], "is_met": is_met}
    return found
