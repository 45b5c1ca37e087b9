"""Rows that no single load measures: without HTTP, the audit, memory, more buyers, tables that fill."""

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from scripts.bench import loads, watching
from scripts.bench.load import Measured, Run, null_around, ratio
from scripts.bench.rows import OF_EMPTY, OF_NULL
from scripts.bench.stage import Stage, python
from scripts.stack import SetupError, database, places, process_identity
from scripts.stack.instance import Instance

PATIENCE_SECONDS, AUDIT_SECONDS = 120, 1800
COUPONS, ORDERS = "SELECT COUNT(*) FROM coupons_coupon", "SELECT COUNT(*) FROM orders_order"
USED = "SHOW GLOBAL STATUS WHERE Variable_name = 'Max_used_connections'"
ALLOWED = "SHOW GLOBAL VARIABLES WHERE Variable_name = 'max_connections'"
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


def by_table(stage: Stage, empty: Step, say: Callable[[str], None]) -> tuple[list[Step], Measured]:
    """Fill the tables step by step, and measure coupons at each; the row compares the last with `empty`,
    both as shares of the null endpoint in their moment."""
    steps, findings = [empty], []
    for index, size in enumerate(stage.size.tables):
        is_last = index == len(stage.size.tables) - 1
        say(f"Filling the table up to {size:,} coupons …")
        orders = stage.size.filled_orders if is_last else 0
        stage.fill(coupons=max(size - stage.count(COUPONS), 0), orders=orders)
        _wait_until_written(stage)
        runs = list(_rounds(stage))
        findings += [finding for run in runs for finding in run.findings]
        steps.append(step(stage.count(COUPONS), runs))
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


def issuing(stage: Stage) -> Measured:
    """What issuing itself does a second, by two processes with many requests each."""
    campaign = stage.campaign("alone")
    if stage.staff.users[-1]["id"] - stage.staff.users[0]["id"] != len(stage.staff.users) - 1:
        raise SetupError("the accounts' ids have gaps, and issuing asks for all of a range")
    seconds = str(stage.size.alone_seconds)
    told = _without_http(stage, "issuing", "--seconds", seconds, "--campaign", str(campaign))
    issued = stage.staff.issued(campaign)
    findings = []
    if told["outcomes"] != {"issued": issued}:
        findings.append(f"alone: {issued} coupons are issued, and the callers were told {told['outcomes']}")
    return Measured(
        row="alone",
        figures={"per_second": told["per_second"]},
        findings=findings,
        says=(
            f"a coupon takes {told['python_microseconds']:.0f} µs of processor in Python and "
            f"{told['database_microseconds']:.0f} in MariaDB, {told['commits'] / max(issued, 1):.2f} commits"
        ),
    )


def limits(stage: Stage) -> Measured:
    """What the limits add to a coupon and an order, on the tables as they are. Raises SetupError."""
    measured = _without_http(stage, "limits")
    told = (
        f"of {name}s {one['redis']:.1f} µs more in Redis and {one['database']:.1f} in MariaDB"
        for name, one in measured.items()
    )
    figures = {f"{name}_microseconds": one["python"] for name, one in measured.items()}
    return Measured(row="limits", figures=figures, says="; ".join(told))


def _without_http(stage: Stage, *words: str) -> dict[str, Any]:
    first, last = stage.staff.users[0]["id"], stage.staff.users[-1]["id"]
    command = python("-m", "scripts.bench.without_http", *words, "--users", f"{first}:{last}")
    ran = subprocess.run(
        command,
        cwd=places.PROJECT,
        env=stage.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if ran.returncode != 0:
        raise SetupError(f"without_http {words[0]} ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def audit(stage: Stage) -> Measured:
    """Every law over all that was made, as an operator would audit it; a broken one is a finding."""
    coupons, orders = stage.count(COUPONS), stage.count(ORDERS)
    command = python("manage.py", "audit", "--json")
    ran = watching.run(command, stage.environment, within_seconds=AUDIT_SECONDS)
    try:
        laws = json.loads(ran.out)["laws"]
    except ValueError:
        laws = []
    findings = [f"audit: {law['law']} is broken: {law['offenders'][:5]}" for law in laws if not law["holds"]]
    if not findings and (ran.code != 0 or not laws):
        findings = [f"audit ended with {ran.code}: {ran.out}{ran.error}"]
    return Measured(
        row="audit",
        figures={"seconds": ran.seconds, "command_mib": ran.peak_mib, "coupons": coupons, "orders": orders},
        findings=findings,
        says=f"{sum(law['holds'] for law in laws)} of {len(laws)} laws hold over {coupons:,} coupons and "
        f"{orders:,} orders",
    )


def memory(instance: Instance) -> Measured:
    """The most that web processes and connections took since the stack was started: no row restarts one."""
    peaks = watching.peak_mib(process_identity.group_of(instance.run, "web"))
    used, most = (int(database.rows(instance, asked)[0][1]) for asked in (USED, ALLOWED))
    figures = {"peak_mib": max(peaks.values(), default=0), "connections_share": used / most}
    return Measured(
        row="memory",
        figures=figures | {"connections_used": used, "connections_allowed": most},
        says=f"{used} of {most} connections to the database",
    )
