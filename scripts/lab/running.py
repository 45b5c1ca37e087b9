"""One case from its campaign to its row of the report."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from scripts.bench import load
from scripts.bench.stage import Staff
from scripts.lab import coupons, figures, loads, orders
from scripts.lab.figures import Figures
from scripts.lab.loads import FINISH_SECONDS
from scripts.lab.scenarios import Case
from scripts.stack import database, readiness

Row = dict[str, Any]
SORTS = {"coupons": coupons, "orders": orders}
START_SECONDS = 180
"""What k6 gets to read its accounts and to make its callers."""
IDLE_SECONDS = 1
"""In which an idle shop says that it is ready."""
MOST_FAILED, SLOWEST_P95_MS = 0.01, 500
"""The thresholds of a steady load."""
COUNTED = re.compile(r"^(firstcome_\w+_total)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def run(staff: Staff, case: Case, *, tick: Callable[[], object]) -> Row:
    """Run the load and check its rows. Raises SetupError when it can't be run."""
    sort = SORTS[case.scenario.sort]
    known = sort.prepare(staff, case)
    database.wait_until_worked_off(staff.instance)
    database_before, shop_before = database.counters(staff.instance), _counted(staff)
    with _meanwhile(staff, case) as befell:
        metrics, took = load.measure(
            f"lab/{case.scenario.sort}",
            loads.settings(case.load) | {"TOKENS": staff.tokens_of(case.load.accounts), **known},
            instance=staff.instance,
            within_seconds=START_SECONDS + case.load.seconds + 2 * FINISH_SECONDS,
            tick=tick,
        )
    _wait_until_idle(staff)
    measured = figures.read(metrics, processor_seconds=took)
    reckoned = sort.reckon(staff, case, known, measured)
    counted = database.since(shop_before, _counted(staff))
    return {
        "scenario": case.scenario.name,
        "strategy": case.strategy,
        "variant": case.variant,
        "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "is_quick": case.is_quick,
        "is_control": case.is_control,
        **asdict(measured),
        "steps": _steps(case, metrics),
        "database": database.since(database_before, database.counters(staff.instance)),
        "counted": {name: round(number) for name, number in counted.items() if number},
        "goals": goals(measured) if case.scenario.is_steady else {},
        "faults": befell,
        **reckoned,
    }


def _wait_until_idle(staff: Staff) -> None:
    """Return when the shop has worked off what callers no longer wait for, or that takes too long: it would
    slow the next case down, and this one's rows would go on growing."""
    deadline = time.monotonic() + FINISH_SECONDS
    while time.monotonic() < deadline:
        asked_at = time.monotonic()
        with contextlib.suppress(OSError):
            status, _ = readiness.ask(staff.instance.port, "GET", "/readyz")
            if status == 200 and time.monotonic() - asked_at < IDLE_SECONDS:
                return
        time.sleep(0.2)


def goals(measured: Figures) -> dict[str, bool]:
    """Which thresholds of a steady load were met."""
    failed = figures.failed(measured.answers)
    return {
        f"failed < {MOST_FAILED:.0%}": failed < MOST_FAILED * max(measured.asked, 1),
        f"p95 < {SLOWEST_P95_MS} ms": measured.p95_ms < SLOWEST_P95_MS,
    }


def _steps(case: Case, metrics: figures.Metrics) -> list[dict[str, Any]]:
    vus = list(case.load.vus)
    return figures.steps(metrics, vus, seconds=case.load.seconds // len(vus)) if vus else []


def _counted(staff: Staff) -> Mapping[str, float]:
    """The shop's own counters, over all processes and labels."""
    _, text = readiness.ask(staff.instance.port, "GET", "/metrics")
    sums: dict[str, float] = {}
    for name, number in COUNTED.findall(text):
        sums[name] = sums.get(name, 0) + float(number)
    return sums


@contextmanager
def _meanwhile(staff: Staff, case: Case) -> Iterator[list[Mapping[str, Any]]]:
    """Do what the scenario has done meanwhile, beside the block; its exception is raised after it.

    What it told is there once the block is left.
    """
    told: list[Mapping[str, Any]] = []
    if case.scenario.meanwhile is None:
        yield told
        return
    ended = threading.Event()
    with ThreadPoolExecutor(1, "meanwhile") as threads:
        acting = threads.submit(case.scenario.meanwhile, staff, case.variant, ended)
        try:
            yield told
        finally:
            ended.set()
        told.extend(acting.result(FINISH_SECONDS))
