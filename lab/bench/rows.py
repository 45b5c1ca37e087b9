"""The rows of the benchmark, which `rows.toml` declares, with their goals."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack import SetupError

OF_NULL, OF_PESSIMISTIC, OF_EMPTY, OF_ISSUED = "of_null", "of_pessimistic", "of_empty", "of_issued"
SETTLED, OLDEST_WAITING = "settled_per_second", "oldest_waiting_seconds"
PER_SECOND, P95, LONGEST, PROCESSOR, PEAK = "per_second", "p95_ms", "max_ms", "processor", "peak_mib"
WAITING, WAITING_KIB, WAITING_CORES, NULL_WAITING = "waiting", "waiting_kib", "waiting_cores", "of_null_alone"
OF_NULL_PROCESSOR, OF_PLAIN_ORDER = "of_null_processor", "of_plain_order"
STATEMENTS, ESTIMATE_ERROR = "statements", "estimate_error"
RATIOS = {
    OF_NULL: "null",
    OF_PESSIMISTIC: "pessimistic",
    OF_EMPTY: "empty",
    OF_ISSUED: "orders with an issued coupon",
    NULL_WAITING: "p95 of a null call alone",
    OF_NULL_PROCESSOR: "the processor time of a null call",
    OF_PLAIN_ORDER: "the processor time of an order without a sale",
}
"""Figures that compare two loads of one run, and with what: they mean the same on every machine, hence a run
without another commit fails for these goals alone."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A bound of a figure. `of_other`: the figure is divided by that of the other commit."""

    figure: str
    least: float | None = None
    below: float | None = None
    of_other: bool = False

    @property
    def is_ratio(self) -> bool:
        return self.figure in RATIOS

    def is_met(self, number: float) -> bool:
        if self.least is not None:
            return number >= self.least
        return self.below is not None and number < self.below


def bound(goal: Mapping[str, Any]) -> tuple[str, float]:
    """The sign and the number of a goal, as the JSON files have it."""
    return ("≥", goal["least"]) if goal["least"] is not None else ("<", goal["below"])


@dataclass(frozen=True, kw_only=True)
class Row:
    """`calls` says for a reader what is done, `goals` are those of a run by itself, and `against` those of a
    run beside another commit; a row without any isn't measured there."""

    name: str
    calls: str
    goals: Sequence[Goal] = ()
    against: Sequence[Goal] = ()


PEAK_GOAL = Goal(figure=PEAK, below=250)


def _goals(bounds: Mapping[str, Mapping[str, float]], *, of_other: bool = False) -> list[Goal]:
    return [Goal(figure=figure, of_other=of_other, **bound) for figure, bound in bounds.items()]


def _row(name: str, calls: str, **bounds: Mapping[str, Mapping[str, float]]) -> Row:
    goals, own = _goals(bounds.get("goals", {})), _goals(bounds.get("against", {}))
    ratios = _goals(bounds.get("ratios", {}), of_other=True)
    return Row(name=name, calls=calls, goals=goals, against=[*ratios, *([PEAK_GOAL] if ratios else []), *own])


ROWS: Mapping[str, Row] = {
    key: _row(**words)
    for key, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text()).items()
}
COMPARED = [name for name, row in ROWS.items() if row.against]
"""The rows that are measured beside another commit, in their order."""


def choose(words: str, *, of: Sequence[str]) -> list[str]:
    """Those of the rows that the words name, in their own order; all without a word. Raises SetupError."""
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    if unknown := [word for word in chosen if word not in of]:
        raise SetupError(f"ROWS={','.join(unknown)} is not measured: choose from {','.join(of)}")
    return [row for row in of if row in chosen or not chosen]
