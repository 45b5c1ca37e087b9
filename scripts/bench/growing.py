"""Throughput against the number of buyers, and against the size of the table."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from scripts import database
from scripts.bench import filling, loads
from scripts.bench.measured import Measured, Run, null_around, ratio
from scripts.bench.rows import OF_EMPTY, OF_NULL
from scripts.bench.stage import Stage

Step = Mapping[str, float | str]
WRITING = (
    "SELECT @@GLOBAL.innodb_max_dirty_pages_pct, @@GLOBAL.innodb_io_capacity, @@GLOBAL.innodb_io_capacity_max"
)
# In this order for more, and from the last for less: the capacity may not exceed its most.
WRITE = (
    "SET GLOBAL innodb_io_capacity_max = %s",
    "SET GLOBAL innodb_io_capacity = %s",
    "SET GLOBAL innodb_max_dirty_pages_pct = %s",
)
PAGES_A_SECOND = 20_000
UNWRITTEN = "SHOW GLOBAL STATUS WHERE Variable_name = 'Innodb_buffer_pool_pages_dirty'"
FEW_PAGES, WRITE_SECONDS = 200, 60
COUPONS = "SELECT COUNT(*) FROM coupons_coupon"
LOADS: Mapping[str, Callable[..., Run]] = {
    "null": loads.null,
    "coupon": loads.coupons,
    "orders": loads.orders,
}


def by_buyers(stage: Stage) -> tuple[list[Step], Measured]:
    """Each load with more and more buyers."""
    steps: list[Step] = []
    findings: list[str] = []
    for vus in stage.size.vus:
        for name, load in LOADS.items():
            run = load(stage, seconds=stage.size.step_seconds, vus=vus)
            findings += run.findings
            steps.append({"load": name, "vus": vus, **_figures(run)})
    coupons = [step for step in steps if step["load"] == "coupon"]
    told = ", ".join(f"{step['per_second']:,.0f}/s by {step['vus']:,}" for step in coupons)
    return steps, Measured(row="buyers", figures={}, findings=findings, says=f"coupons: {told}")


def count_coupons(stage: Stage) -> int:
    return int(database.rows(stage.instance, COUPONS)[0][0])


def by_table(stage: Stage, empty: Step, say: Callable[[str], None]) -> tuple[list[Step], Measured]:
    """Fill the tables step by step, and measure coupons at each; the row compares the last with `empty`,
    both as shares of the null endpoint in their moment."""
    steps, findings = [empty], []
    for index, size in enumerate(stage.size.tables):
        is_last = index == len(stage.size.tables) - 1
        say(f"Filling the table up to {size:,} coupons …")
        filling.fill(
            stage.instance,
            coupons=max(size - count_coupons(stage), 0),
            orders=stage.size.filled_orders if is_last else 0,
        )
        _wait_until_written(stage)
        runs = list(_rounds(stage))
        findings += [finding for run in runs for finding in run.findings]
        steps.append(step(count_coupons(stage), runs))
        row = compared(empty, steps[-1])
    return steps, replace(row, findings=findings)


def compared(empty: Step, full: Step) -> Measured:
    """The row of growth."""
    figures = {name: float(number) for name, number in full.items()}
    return Measured(
        row="growth",
        figures=figures | {OF_EMPTY: ratio(figures[OF_NULL], float(empty[OF_NULL]))},
        says=f"with {full['coupons']:,} coupons in the table, beside {empty['coupons']:,}",
    )


def step(coupons: int, runs: Sequence[Run]) -> Step:
    """Coupons with so many in the table, from runs that begin and end with null."""
    mine = [(place, run) for place, run in enumerate(runs) if run.row == "coupon"]
    each = [_figures(run) for _, run in mine]
    shares = [ratio(run.figures.per_second, null_around(runs, place)) for place, run in mine]
    return {
        "coupons": coupons,
        "per_second": median(one["per_second"] for one in each),
        "p95_ms": median(one["p95_ms"] for one in each),
        OF_NULL: median(shares),
    }


def _wait_until_written(stage: Stage) -> None:
    """Have the server write what the filling left in its memory: it is the table's size that is measured, and
    not the end of a bulk load. What stays unwritten after a minute is measured with it."""
    [(share, capacity, most)] = database.rows(stage.instance, WRITING)
    _set(stage, zip(WRITE, (PAGES_A_SECOND, PAGES_A_SECOND, 0), strict=True))
    try:
        deadline = time.monotonic() + WRITE_SECONDS
        while int(database.rows(stage.instance, UNWRITTEN)[0][1]) > FEW_PAGES:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
    finally:
        _set(stage, zip(reversed(WRITE), (float(share), int(capacity), int(most)), strict=True))


def _set(stage: Stage, settings: Iterable[tuple[str, float]]) -> None:
    for statement, value in settings:
        database.rows(stage.instance, statement, value)


def _rounds(stage: Stage) -> Iterator[Run]:
    yield loads.null(stage)
    for _ in range(stage.size.rounds):
        yield loads.coupons(stage)
        yield loads.null(stage)


def _figures(run: Run) -> dict[str, float]:
    return {"per_second": run.figures.per_second, "p95_ms": run.figures.p95_ms}
