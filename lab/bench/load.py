"""Load by k6, its figures, and the summary of a row's runs."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from lab.bench.rows import LONGEST, OF_ISSUED, OF_NULL, OF_PESSIMISTIC, P95, PER_SECOND
from lab.bench.sizes import VUS
from scripts.stack import SetupError, children
from scripts.stack.instance import Instance
from scripts.stack.places import PROJECT

NULL, COUPON, PESSIMISTIC = "null", "coupon", "pessimistic"
COUPON_ORDERS, SHARED_ORDERS = "coupon_orders", "shared_orders"
GRACE_SECONDS = 60
"""For k6 beyond the load's time: to start, to finish the last requests, and to write its figures."""
K6 = [str(Path(sys.executable).parent / "k6"), "run", "--quiet", "--no-color"]
# No usage report and no server of its own: the load goes to loopback and nothing else anywhere.
K6 += ["--no-usage-report", "--address", ""]
SPARING = {"GOGC": 400}
"""k6 shares the processors with the stack: it collects garbage less often and takes memory instead."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one run of k6.

    `statuses` counts the errors by their status, `overloaded` those that are 503 `overloaded`, if the load
    allows for them; `k6_cores` is the processor time a second of k6 itself; `microseconds` is that of a
    request by process, if it was measured.
    """

    seconds: float
    requests: int
    errors: int
    statuses: Mapping[str, int]
    p50_ms: float
    p95_ms: float
    max_ms: float
    k6_cores: float
    overloaded: int = 0
    microseconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def succeeded(self) -> int:
        return self.requests - self.errors

    @property
    def per_second(self) -> float:
        """Requests a second with the answer they asked for."""
        return self.succeeded / self.seconds


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a row's load: `findings` are errors, `others` figures that k6 doesn't know, `says` is shown
    below the row, and `per` says of what the microseconds of processor are."""

    row: str
    figures: Figures
    findings: Sequence[str] = ()
    campaign: int = 0
    others: Mapping[str, float] = field(default_factory=dict)
    per: str = "a request"
    says: str = ""

    @property
    def numbers(self) -> dict[str, float]:
        """All figures of a row by their names."""
        names = (PER_SECOND, "p50_ms", P95, LONGEST)
        return {name: getattr(self.figures, name) for name in names} | dict(self.others)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The figures of a row by their names, and the lowest and highest of several rounds."""

    row: str
    figures: Mapping[str, float]
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    findings: Sequence[str] = ()
    says: str = ""


def summed_up(runs: Sequence[Run]) -> list[Measured]:
    """Each row of these rounds by its medians, with ratios to the null runs around it, to its own round's
    `pessimistic`, and of orders with a shared code to those with issued coupons before them.

    A round starts and ends with null.
    """
    by_row: dict[str, list[Run]] = {}
    for place, run in enumerate(runs):
        others = {**run.others, **dict(_ratios(run, place, runs))}
        by_row.setdefault(run.row, []).append(replace(run, others=others))
    return [_summary(mine) for mine in by_row.values()]


def single(run: Run) -> Measured:
    """A row that was measured once."""
    return replace(_summary([run]), spread={})


def null_around(runs: Sequence[Run], place: int) -> float:
    """The rate of null just before and just after the run at that place: the machine drifts."""
    before = next(run for run in reversed(runs[:place]) if run.row == NULL)
    after = next(run for run in runs[place + 1 :] if run.row == NULL)
    return (before.figures.per_second + after.figures.per_second) / 2


def _summary(runs: Sequence[Run]) -> Measured:
    numbers = {name: [run.numbers[name] for run in runs] for name in runs[0].numbers}
    return Measured(
        row=runs[0].row,
        figures={name: (max if name == LONGEST else median)(each) for name, each in numbers.items()},
        spread={name: (min(each), max(each)) for name, each in numbers.items()},
        findings=[finding for run in runs for finding in run.findings],
        says="; ".join(filter(None, [runs[0].says, _processor(runs)])),
    )


def _ratios(run: Run, place: int, runs: Sequence[Run]) -> Iterator[tuple[str, float]]:
    if run.row == NULL:
        return
    yield OF_NULL, ratio(run.figures.per_second, null_around(runs, place))
    if run.row == COUPON:
        beside = next(one for one in runs[place + 1 :] if one.row == PESSIMISTIC)
        yield OF_PESSIMISTIC, ratio(run.figures.per_second, beside.figures.per_second)
    if run.row == SHARED_ORDERS:
        beside = next(one for one in reversed(runs[:place]) if one.row == COUPON_ORDERS)
        yield OF_ISSUED, ratio(run.figures.per_second, beside.figures.per_second)


def ratio(number: float, of: float) -> float:
    """0 if there is nothing to compare with."""
    return number / of if of else 0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value within which this share of the ordered values is; 0 without any."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def median_microseconds(runs: Sequence[Run]) -> dict[str, float]:
    """Microseconds of processor by process, if they were measured."""
    each = [run.figures.microseconds for run in runs if run.figures.microseconds]
    return {name: median(one[name] for one in each) for name in each[0]} if each else {}


def _processor(runs: Sequence[Run]) -> str:
    medians = median_microseconds(runs)
    times = ", ".join(f"{number:,.0f} in {name}" for name, number in medians.items())
    return f"µs of processor {runs[0].per}: {times} (its start included)" if times else ""


def run(script: str, *, instance: Instance, seconds: int, **settings: object) -> Figures:
    """Run `k6/<script>.js` against the instance. Raises SetupError with the end of its log if it fails."""
    given = {"SECONDS": seconds, "VUS": VUS, **settings}
    measured, took = measure(script, given, instance=instance, within_seconds=seconds + GRACE_SECONDS)
    return Figures(**measured, k6_cores=took / measured["seconds"])


def measure(
    script: str, settings: Mapping[str, object], *, instance: Instance, within_seconds: float
) -> tuple[Any, float]:
    """What `k6/<script>.js` wrote into the file `SUMMARY`, and the processor time of k6. Raises
    SetupError."""
    summary, log = instance.home / f"{script.replace('/', '-')}.json", instance.logs / "k6.log"
    summary.unlink(missing_ok=True)
    given = {"URL": instance.url, "SUMMARY": summary, **SPARING, **settings}
    environment = os.environ | {name: str(value) for name, value in given.items()}
    before = _seconds_of_children()
    child = children.start([*K6, str(PROJECT / "k6" / f"{script}.js")], log=log, environment=environment)
    try:
        child.wait(timeout=within_seconds)
    except subprocess.TimeoutExpired:
        raise SetupError(f"k6/{script}.js runs on after {within_seconds:.0f} s: see {log}") from None
    finally:
        children.stop(child)
    if child.returncode != 0 or not summary.exists():
        raise SetupError(
            f"k6/{script}.js ended with exit code {child.returncode}; the end of {log}:\n{children.tail(log)}"
        )
    return json.loads(summary.read_text()), _seconds_of_children() - before


def _seconds_of_children() -> float:
    """Processor time of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
