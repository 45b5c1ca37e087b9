"""Rows that no single load measures: without HTTP, the audit, memory, more buyers, tables that fill."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from lab.bench import watching
from lab.bench.load import Measured, Run, median_microseconds, null_around, ratio
from lab.bench.rows import OF_EMPTY, OF_NULL, P95, PER_SECOND, PROCESSOR
from lab.bench.stage import Stage, wait_until
from lab.bench.workloads import loads
from scripts.stack import SetupError, children, database, own_stack, places, process_identity
from scripts.stack.instance import Instance

WITHOUT_HTTP_SECONDS, AUDIT_SECONDS, SAMPLE_SECONDS = 120, 1800, 0.05
USERS_OF_AN_EVENT = 8
"""The feed is measured with an event for so many accounts: 5,000 in a full run."""
COUPONS, ORDERS = "SELECT COUNT(*) FROM coupons_coupon", "SELECT COUNT(*) FROM orders_order"
USED = "SHOW GLOBAL STATUS WHERE Variable_name = 'Max_used_connections'"
ALLOWED = "SHOW GLOBAL VARIABLES WHERE Variable_name = 'max_connections'"
Step = Mapping[str, float | str]
SERVING = {"web", "mariadb", "redis"}
"""The processes whose processor time a coupon takes."""
# In this order for more, and from the last for less: the capacity may not exceed its maximum.
WRITE_ALL = {
    "innodb_io_capacity_max": 20_000,
    "innodb_io_capacity": 20_000,
    "innodb_max_dirty_pages_pct": 0,
}
UNWRITTEN = "SHOW GLOBAL STATUS WHERE Variable_name = 'Innodb_buffer_pool_pages_dirty'"
FEW_PAGES, WRITE_SECONDS = 200, 60


def by_buyers(stage: Stage) -> tuple[list[Step], Measured]:
    """Each load with more and more buyers."""
    steps: list[Step] = []
    findings: list[str] = []
    for vus in stage.size.vus:
        for name, load in (("null", loads.null), ("coupon", loads.coupons), ("orders", loads.orders)):
            run = load(stage, seconds=stage.size.step_seconds, vus=vus)
            findings += run.findings
            steps.append({"load": name, "vus": vus, **_rate_and_p95([run])})
    coupons = [step for step in steps if step["load"] == "coupon"]
    rates = ", ".join(f"{step['per_second']:,.0f}/s by {step['vus']:,}" for step in coupons)
    return steps, Measured(row="buyers", figures={}, findings=findings, says=f"coupons: {rates}")


def by_table(stage: Stage, empty: Step, say: Callable[[str], None]) -> tuple[list[Step], Measured]:
    """Fill the tables step by step, and measure coupons at each; the row compares the last with `empty`."""
    steps, findings = [empty], []
    for size in stage.size.tables:
        say(f"Filling the table up to {size:,} coupons …")
        orders = stage.size.filled_orders if size == stage.size.tables[-1] else 0
        stage.fill(coupons=max(size - stage.count(COUPONS), 0), orders=orders)
        _wait_until_written(stage)
        runs = list(_rounds(stage))
        findings += [finding for run in runs for finding in run.findings]
        steps.append(step(stage.count(COUPONS), runs))
    return steps, replace(compared(empty, steps[-1]), findings=findings)


def compared(empty: Step, full: Step) -> Measured:
    """The row of growth: shares of null, because the machine is quicker in one half hour than in the next."""
    figures = {name: float(number) for name, number in full.items()}
    return Measured(
        row="growth",
        figures=figures | {OF_EMPTY: ratio(figures[OF_NULL], float(empty[OF_NULL]))},
        says=f"with {full['coupons']:,} coupons in the table, beside {empty['coupons']:,}: "
        f"{full[PROCESSOR]:,.0f} µs of processor a coupon for {empty[PROCESSOR]:,.0f}",
    )


def step(coupons: int, runs: Sequence[Run]) -> Step:
    """Coupons with that many in the table, from runs that start and end with null."""
    mine = [(place, run) for place, run in enumerate(runs) if run.row == "coupon"]
    shares = [ratio(run.figures.per_second, null_around(runs, place)) for place, run in mine]
    coupon_runs = [run for _, run in mine]
    processor = sum(number for name, number in median_microseconds(coupon_runs).items() if name in SERVING)
    return {
        "coupons": coupons,
        **_rate_and_p95(coupon_runs),
        OF_NULL: median(shares),
        PROCESSOR: processor,
    }


def _rate_and_p95(runs: Sequence[Run]) -> dict[str, float]:
    return {name: median(run.numbers[name] for run in runs) for name in (PER_SECOND, P95)}


def _wait_until_written(stage: Stage) -> None:
    """Have the server write the pages that the filling left in its memory: the table's size is measured, and
    not the end of a bulk load. Pages that are unwritten after a minute are measured with it."""
    names = ", ".join(f"@@GLOBAL.{name}" for name in WRITE_ALL)
    [before] = database.rows(stage.instance, f"SELECT {names}")
    _set(stage, WRITE_ALL.items())
    try:
        wait_until(
            lambda: int(database.rows(stage.instance, UNWRITTEN)[0][1]) <= FEW_PAGES,
            within_seconds=WRITE_SECONDS,
        )
    finally:
        _set(stage, reversed([*zip(WRITE_ALL, before, strict=True)]))


def _set(stage: Stage, settings: Iterable[tuple[str, float]]) -> None:
    for name, value in settings:
        database.rows(stage.instance, f"SET GLOBAL {name} = %s", value)


def _rounds(stage: Stage) -> Iterator[Run]:
    yield loads.null(stage)
    for _ in range(stage.size.rounds):
        yield loads.coupons(stage)
        yield loads.null(stage)


def issuing(stage: Stage) -> Measured:
    """Coupons a second without HTTP, by two processes with many requests each."""
    campaign = stage.campaign("alone")
    if stage.staff.users[-1]["id"] - stage.staff.users[0]["id"] != len(stage.staff.users) - 1:
        raise SetupError("the accounts' ids have gaps, and issuing uses all of a range")
    seconds = str(stage.size.alone_seconds)
    found = _without_http(stage, "issuing", "--seconds", seconds, "--campaign", str(campaign))
    return _of_batches("alone", "a coupon", found, {"issued": stage.staff.issued(campaign)})


def ordering(stage: Stage) -> Measured:
    """Unpaid orders of one product a second without HTTP, with their journal and events, in the same way."""
    before, seconds = stage.count(ORDERS), str(stage.size.alone_seconds)
    found = _without_http(stage, "orders", "--seconds", seconds, "--product", str(stage.product_ids[0]))
    return _of_batches("orders_alone", "an order", found, {"placed": stage.count(ORDERS) - before})


def _of_batches(row: str, what: str, found: Mapping[str, Any], made: Mapping[str, int]) -> Measured:
    """The row of what was issued or placed without HTTP; `made` are the outcomes that the rows show."""
    [number] = made.values()
    finding = f"{row}: made were {dict(made)}, and the outcomes are {found['outcomes']}"
    return Measured(
        row=row,
        figures={"per_second": found["per_second"]},
        findings=[] if found["outcomes"] == made else [finding],
        says=(
            f"{what} takes {found['python_microseconds']:.0f} µs of processor in Python and "
            f"{found['database_microseconds']:.0f} in MariaDB, "
            f"{found['commits'] / max(number, 1):.2f} commits; {found['lock_waits']} waited for a lock"
        ),
    )


def feed(stage: Stage) -> list[Measured]:
    """What an event costs until it has its position, and webhooks a second to one endpoint."""
    number = stage.size.users // USERS_OF_AN_EVENT
    found = _in_process(stage, "feed_load", "--events", str(number))
    events, webhooks = found["events"], found["webhooks"]
    lost = f"webhooks: {webhooks['delivered']} of {number} events were delivered"
    of_events = Measured(
        row="events",
        figures={"event_microseconds": events["python"]},
        says=f"of an event {events['database']:.0f} µs in MariaDB, its position included; the last had its "
        f"own {1000 * events['behind_seconds']:.0f} ms after its commit",
    )
    of_webhooks = Measured(
        row="webhooks",
        figures={"per_second": webhooks["per_second"]},
        findings=[lost] if webhooks["delivered"] < number else [],
        says=f"a webhook takes {webhooks['python']:.0f} µs of processor in Python, and "
        f"{webhooks['database']:.0f} in MariaDB",
    )
    return [of_events, of_webhooks]


def limits(stage: Stage) -> Measured:
    """The cost of the limits for a coupon and an order, on the tables as they are. Raises SetupError."""
    measured = _without_http(stage, "limits")
    others = (
        f"of {name}s {one['redis']:.1f} µs more in Redis and {one['database']:.1f} in MariaDB"
        for name, one in measured.items()
    )
    figures = {f"{name}_microseconds": one["python"] for name, one in measured.items()}
    return Measured(row="limits", figures=figures, says="; ".join(others))


def _without_http(stage: Stage, *words: str) -> dict[str, Any]:
    users = f"{stage.staff.users[0]['id']}:{stage.staff.users[-1]['id']}"
    return _in_process(stage, "without_http", *words, "--users", users)


def _in_process(stage: Stage, module: str, *words: str) -> dict[str, Any]:
    """What that module of the workloads prints in the environment of the stack. Raises SetupError."""
    command = [sys.executable, "-m", f"lab.bench.workloads.{module}", *words]
    ran, _ = _run(stage, command, WITHOUT_HTTP_SECONDS)
    found: dict[str, Any] = json.loads(children.printed(ran))
    return found


def audit(stage: Stage) -> Measured:
    """Every law over all that was made, as an operator would audit it; a broken one is a finding."""
    coupons, orders = stage.count(COUPONS), stage.count(ORDERS)
    began_at = time.monotonic()
    ran, peak_mib = _run(stage, [sys.executable, "manage.py", "audit", "--json"], AUDIT_SECONDS)
    seconds = time.monotonic() - began_at
    laws = own_stack.read_laws(ran)
    findings = own_stack.broken(laws)
    return Measured(
        row="audit",
        figures={"seconds": seconds, "command_mib": peak_mib, "coupons": coupons, "orders": orders},
        findings=findings,
        says=f"{sum(law['holds'] for law in laws)} of {len(laws)} laws hold over {coupons:,} coupons and "
        f"{orders:,} orders",
    )


def _run(
    stage: Stage, command: Sequence[str], within_seconds: float
) -> tuple[subprocess.CompletedProcess[str], float]:
    """The command once it has ended, and its peak memory in MiB. Raises TimeoutExpired."""
    pipe, peak_mib, ends_at = subprocess.PIPE, 0.0, time.monotonic() + within_seconds
    child = subprocess.Popen(
        command, cwd=places.PROJECT, env=dict(stage.environment), stdout=pipe, stderr=pipe, text=True
    )
    try:
        while True:
            peak_mib = max(peak_mib, watching.peak_mib([child.pid]))
            try:
                out, error = child.communicate(timeout=SAMPLE_SECONDS)
                return subprocess.CompletedProcess(command, child.returncode, out, error), peak_mib
            except subprocess.TimeoutExpired:
                if time.monotonic() > ends_at:
                    raise
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def memory(instance: Instance) -> Measured:
    """The peak of web processes and connections since the stack was started: no row restarts one."""
    peak = watching.peak_mib(process_identity.group_of(instance.run, "web"))
    used, most = (int(database.rows(instance, statement)[0][1]) for statement in (USED, ALLOWED))
    figures = {"peak_mib": peak, "connections_share": used / most}
    return Measured(
        row="memory",
        figures=figures | {"connections_used": used, "connections_allowed": most},
        says=f"{used} of {most} connections to the database",
    )
