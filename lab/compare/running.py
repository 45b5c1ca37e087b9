"""One case from its campaign to its row of the report."""

import contextlib
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from lab.bench.report import documents
from lab.bench.stage import Staff, wait_until
from lab.compare import coupons, figures, loads, orders, ramp
from lab.compare.figures import Figures
from lab.compare.loads import FINISH_SECONDS
from lab.compare.results import Row
from lab.compare.scenarios import Case
from scripts.stack import database, readiness

SORTS = {"coupons": coupons, "orders": orders}
IDLE_SECONDS = 1
"""In which an idle shop says that it is ready."""
MOST_FAILED, SLOWEST_P95_MS = 0.01, 500
"""The thresholds of a steady load."""
COUNTED = re.compile(r"^(firstcome_(?!database_|processor_)\w+_total)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def run(staff: Staff, case: Case) -> Row:
    """Run the load and check its rows. Raises SetupError when it can't be run."""
    sort = SORTS[case.scenario.sort]
    settings = sort.prepare(staff, case)
    measure = ramp.climb if case.load.is_ramp else measure_once
    database.wait_until_worked_off(staff.instance)
    database_before, shop_before = database.counters(staff.instance), _counted(staff)
    with _meanwhile(staff, case) as faults:
        measured, more = measure(staff, case, settings)
    wait_until(lambda: _is_idle(staff), within_seconds=FINISH_SECONDS)
    checked = sort.check(staff, case, settings, measured)
    counted = database.since(shop_before, _counted(staff))
    return {
        "scenario": case.scenario.name,
        "strategy": case.strategy,
        "variant": case.variant,
        "measured_at": documents.now(),
        "is_quick": case.is_quick,
        "is_control": case.is_control,
        **asdict(measured),
        **more,
        "database": database.since(database_before, database.counters(staff.instance)),
        "counted": {name: round(number) for name, number in counted.items() if number},
        "goals": goals(measured) if case.scenario.is_steady else {},
        "faults": faults,
        **checked,
    }


def measure_once(staff: Staff, case: Case, settings: Mapping[str, Any]) -> tuple[Figures, dict[str, Any]]:
    """The figures of the case's load, and those of its `steps`."""
    tokens = staff.tokens_of(case.load.accounts)
    given = {**settings, "TOKENS": tokens}
    metrics, took = loads.run_k6(case.scenario.sort, case.load, staff.instance, **given)
    steps = figures.steps(metrics, case.load.vus, seconds=case.load.step_seconds)
    return figures.read(metrics, processor_seconds=took), {"steps": steps}


def _is_idle(staff: Staff) -> bool:
    """Whether the shop has worked off what callers no longer wait for: it would slow the next case down, and
    this one's rows would go on growing."""
    asked_at = time.monotonic()
    with contextlib.suppress(OSError):
        status, _ = readiness.ask(staff.instance.port, "GET", "/readyz")
        return status == 200 and time.monotonic() - asked_at < IDLE_SECONDS
    return False


def goals(measured: Figures) -> dict[str, bool]:
    """Which thresholds of a steady load were met."""
    failed = figures.failed(measured.answers)
    return {
        f"failed < {MOST_FAILED:.0%}": failed < MOST_FAILED * max(measured.asked, 1),
        f"p95 < {SLOWEST_P95_MS} ms": measured.p95_ms < SLOWEST_P95_MS,
    }


def _counted(staff: Staff) -> Mapping[str, float]:
    """The shop's own counters, over all processes and labels. Beat and issuer may still be starting."""
    sums: defaultdict[str, float] = defaultdict(float)
    for (target,) in staff.instance.metrics_targets().values():
        with contextlib.suppress(OSError):
            port = int(target.rpartition(":")[2])
            for name, number in COUNTED.findall(readiness.ask(port, "GET", "/metrics")[1]):
                sums[name] += float(number)
    return sums


@contextmanager
def _meanwhile(staff: Staff, case: Case) -> Iterator[list[Mapping[str, Any]]]:
    """Run `meanwhile` of the scenario beside the block; its result is in the list after it, or its
    exception raised."""
    result: list[Mapping[str, Any]] = []
    if case.scenario.meanwhile is None:
        yield result
        return
    ended = threading.Event()
    with ThreadPoolExecutor(1, "meanwhile") as threads:
        acting = threads.submit(case.scenario.meanwhile, staff, case.variant, ended)
        try:
            yield result
        finally:
            ended.set()
        result.extend(acting.result(FINISH_SECONDS))
