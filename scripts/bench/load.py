"""Load by k6, its figures, and what the runs of a row come to."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from scripts.bench.rows import OF_NULL, OF_PESSIMISTIC
from scripts.stack import SetupError, children
from scripts.stack.instance import Instance
from scripts.stack.places import PROJECT

NULL, COUPON, PESSIMISTIC = "null", "coupon", "pessimistic"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one run of k6 measured.

    `statuses` counts the errors by their status, `overloaded` those of them that are 503 `overloaded`, where
    the load allows for them; `k6_cores` is the processor time a second that the load itself took;
    `microseconds` of processor a request by process, where that was looked at.
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
        """How many requests a second got the answer they asked for."""
        return self.succeeded / self.seconds


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of k6 for a row; `findings` say what it found that must not be, `others` are figures that k6
    doesn't know, `says` what else there is to say. `per` is what the microseconds of processor are counted
    for."""

    row: str
    figures: Figures
    findings: Sequence[str] = ()
    campaign: int = 0
    others: Mapping[str, float] = field(default_factory=dict)
    per: str = "a request"
    says: str = ""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The figures of a row by their names, and between which bounds those of several rounds lay."""

    row: str
    figures: Mapping[str, float]
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    findings: Sequence[str] = ()
    says: str = ""


def summed_up(runs: Sequence[Run]) -> list[Measured]:
    """Each row of these rounds by its medians, beside the null runs around it and its own round's
    `pessimistic`. A round begins and ends with null."""
    return [_row(name, runs) for name in dict.fromkeys(run.row for run in runs)]


def single(run: Run) -> Measured:
    """A row that was measured once."""
    return Measured(
        row=run.row,
        figures=_of_k6(run.figures) | dict(run.others),
        findings=run.findings,
        says="; ".join(filter(None, [run.says, _processor([run])])),
    )


def null_around(runs: Sequence[Run], place: int) -> float:
    """What null did a second just before and just after the run at that place: the machine drifts."""
    before = next(run for run in reversed(runs[:place]) if run.row == NULL)
    after = next(run for run in runs[place + 1 :] if run.row == NULL)
    return (before.figures.per_second + after.figures.per_second) / 2


def _row(name: str, runs: Sequence[Run]) -> Measured:
    mine = [(place, run) for place, run in enumerate(runs) if run.row == name]
    each = [_of_k6(run.figures) | dict(run.others) | dict(_ratios(run, place, runs)) for place, run in mine]
    numbers = {figure: [one[figure] for one in each] for figure in each[0]}
    return Measured(
        row=name,
        figures={
            figure: max(several) if figure == "max_ms" else median(several)
            for figure, several in numbers.items()
        },
        spread={figure: (min(several), max(several)) for figure, several in numbers.items()},
        findings=[finding for _, run in mine for finding in run.findings],
        says=_processor([run for _, run in mine]),
    )


def _ratios(run: Run, place: int, runs: Sequence[Run]) -> Iterator[tuple[str, float]]:
    if run.row == NULL:
        return
    yield OF_NULL, ratio(run.figures.per_second, null_around(runs, place))
    if run.row == COUPON:
        beside = next(one for one in runs[place + 1 :] if one.row == PESSIMISTIC)
        yield OF_PESSIMISTIC, ratio(run.figures.per_second, beside.figures.per_second)


def ratio(number: float, of: float) -> float:
    """0 where there is nothing to compare with."""
    return number / of if of else 0


def median_microseconds(runs: Sequence[Run]) -> dict[str, float]:
    """Microseconds of processor by process, where they were counted."""
    each = [run.figures.microseconds for run in runs if run.figures.microseconds]
    return {name: median(one[name] for one in each) for name in each[0]} if each else {}


def _of_k6(figures: Figures) -> dict[str, float]:
    return {
        "per_second": figures.per_second,
        "p50_ms": figures.p50_ms,
        "p95_ms": figures.p95_ms,
        "max_ms": figures.max_ms,
    }


def _processor(runs: Sequence[Run]) -> str:
    """What a request took in each process, as the median of the runs."""
    medians = median_microseconds(runs)
    told = ", ".join(f"{number:,.0f} in {name}" for name, number in medians.items())
    return f"µs of processor {runs[0].per}: {told} (its start included)" if told else ""


VUS = 100
"""Buyers at once, each with one request under way at any time."""
GRACE_SECONDS = 60
"""What k6 gets on top of its time: to start, to let the last requests end, and to write its figures."""
TICK_SECONDS = 0.5
SPARING = {"GOGC": "400"}
"""k6 shares the cores with what it measures: let it collect garbage less often, for memory there is."""


def run(script: str, *, instance: Instance, seconds: int, **settings: object) -> Figures:
    """Run `k6/<script>.js` against the instance. Raises SetupError with the end of its log when it fails."""
    given = {"SECONDS": seconds, "VUS": VUS, **settings}
    measured, took = measure(script, given, instance=instance, within_seconds=seconds + GRACE_SECONDS)
    return Figures(**measured, k6_cores=took / measured["seconds"])


def measure(
    script: str,
    settings: Mapping[str, object],
    *,
    instance: Instance,
    within_seconds: float,
    tick: Callable[[], object] = lambda: None,
) -> tuple[Any, float]:
    """What `k6/<script>.js` wrote into the file `SUMMARY`, and the processor time that k6 took.

    Calls `tick` twice a second meanwhile. Raises SetupError with the end of k6's log when it fails.
    """
    name = script.replace("/", "-")
    summary, log = instance.home / f"{name}.json", instance.logs / "k6.log"
    summary.unlink(missing_ok=True)
    environment = {"URL": instance.url, "SUMMARY": summary, **settings}
    before = _seconds_of_children()
    texts = SPARING | {key: str(value) for key, value in environment.items()}
    code = _k6(script, texts, log, within_seconds, tick)
    if code != 0 or not summary.exists():
        raise SetupError(
            f"k6/{script}.js ended with exit code {code}; the end of {log}:\n{children.tail(log)}"
        )
    return json.loads(summary.read_text()), _seconds_of_children() - before


def _k6(
    script: str, settings: dict[str, str], log: Path, within_seconds: float, tick: Callable[[], object]
) -> int | None:
    """The exit code; None when it had to be ended."""
    # No usage report and no server of its own: the load goes to loopback and nothing else anywhere.
    words = ["run", "--quiet", "--no-color", "--no-usage-report", "--address", ""]
    command = [str(Path(sys.executable).parent / "k6"), *words, str(PROJECT / "k6" / f"{script}.js")]
    child = children.start(command, log=log, environment=os.environ | settings)
    deadline = time.monotonic() + within_seconds
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(timeout=TICK_SECONDS)
            tick()
        return None
    finally:
        children.stop(child)


def _seconds_of_children() -> float:
    """Processor time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
