"""The published experiments behind this shop beside what was measured here: `docs/asked-for.md`, from
`published.toml`, which has their parameters and figures, and the lab's rows."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from lab import report
from lab.load import Numbers, ratio
from scripts.stack import Words, places

FILE = Path(__file__).with_suffix(".toml")
NAME = "published"  # of the scenario that stands for all of these
PAGE = report.DOCS / "asked-for.md"
HEAD = """\
# Asked for, and measured

Five published experiments stand behind this shop. This page has what each asked for, what is here for it,
what is other than asked and why, and the figures of both. `make lab SCENARIO=published` measures and writes
it again. The sources name no machine: *short* says that this one did not reach the published figure.

"""
# A figure meets its goal when it is at least so much, or exactly; all others when they are at most so much.
AT_LEAST = {"per_second", "settled_per_second", "succeeded", "deadlocks", "wrong_rows"}
EXACTLY = {"coupons"}
TEXTS = {
    "per_second": "{:,.1f}/s",
    "settled_per_second": "{:,.1f} paid/s",
    "succeeded": "{:.2%} succeed",
    "refused": "{:,.0f} refused",
    "deadlocks": "{:,.0f} deadlocks",
    "wrong_rows": "{:,.0f} wrong rows",
    "coupons": "{:,.0f} coupons",
    "avg_ms": "avg {:,.1f} ms",
    "p95_ms": "p95 {:,.1f} ms",
    "settled_p95_ms": "p95 until known {:,.0f} ms",
    "max_ms": "max {:,.0f} ms",
}
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One row of what was asked for; `goals` has a number by the name of a figure."""

    name: str
    asked: str
    published: str
    here: str
    otherwise: str = "–"
    scenario: str = ""  # of the lab, where it is measured
    strategy: str = ""
    variant: str | None = None  # None for each
    goals: Numbers = field(default_factory=dict)

    def rows_of(self, rows: Sequence[Row]) -> list[Row]:
        own = []
        for row in rows:
            is_case = (row["scenario"], row["strategy"]) == (self.scenario, self.strategy)
            if is_case and self.variant in (None, row["variant"]) and not row["is_quick"]:
                own.append(row)
        return own


EXPERIMENTS = [Experiment(**one) for one in tomllib.loads(FILE.read_text())["experiments"]]
CASES = {(one.scenario, one.strategy) for one in EXPERIMENTS}


def write(page: Path, rows: Sequence[Row]) -> None:
    """The page, from all rows of the lab."""
    asked = [[one.name, one.asked, one.here, one.otherwise] for one in EXPERIMENTS]
    compared = [[one.name, one.published, *measured(one, one.rows_of(rows))] for one in EXPERIMENTS]
    first = report.markdown(["", "asked", "here", "other than asked, and why"], asked)
    second = report.markdown(["", "published", "measured here", "verdict", "commit, day"], compared)
    places.write_whole(page, f"{HEAD}## What was asked for\n\n{first}\n## Figures\n\n{second}")


def measured(one: Experiment, rows: Sequence[Row]) -> Words:
    """What the lab measured of it, the verdict, and of which commit and day."""
    if not one.scenario:
        return ["–", "–", "–"]
    if not rows:
        return ["–", "not measured", "–"]
    texts = []
    short = []
    for name, goal in one.goals.items():
        numbers = [figure(row, name) for row in rows]
        texts.append(text(name, numbers))
        if not meets(name, median(numbers), goal):
            short.append(TEXTS[name].format(goal))
    verdict = "met"
    if short:
        verdict = f"short of {', '.join(short)}"
    if not one.goals:
        verdict = "see [the report](lab/report.md)"
    commits = {f"{row['commit']}, {row['measured_at'][:10]}" for row in rows}
    return ["; ".join(texts), verdict, "; ".join(sorted(commits))]


def figure(row: Row, name: str) -> float:
    answers = row["answers"]
    refused = sum(number for answer, number in answers.items() if not answer.startswith("2"))
    others = {
        "refused": refused,
        "succeeded": 1 - ratio(refused, row["asked"]),
        "deadlocks": row["database"]["deadlocks"],
        "wrong_rows": sum(row["wrong"].values()),
    }
    return float(others[name] if name in others else row[name])


def text(name: str, numbers: Sequence[float]) -> str:
    """The figure; of several runs the median, and the lowest and highest."""
    written = TEXTS[name].format(median(numbers))
    if len(numbers) == 1:
        return written
    return f"{written} ({min(numbers):,.0f} to {max(numbers):,.0f})"


def meets(name: str, number: float, goal: float) -> bool:
    if name in EXACTLY:
        return number == goal
    if name in AT_LEAST:
        return number >= goal
    return number <= goal
