"""What was measured: runs of loads, put together to the figures of a row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from scripts.bench.rows import OF_NULL, OF_PESSIMISTIC
from scripts.load import Figures

NULL, COUPON, PESSIMISTIC = "null", "coupon", "pessimistic"


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
