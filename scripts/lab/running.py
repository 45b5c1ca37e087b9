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

from scripts.bench import documents, load
from scripts.bench.stage import Staff, wait_until
from scripts.lab import coupons, figures, loads, orders
from scripts.lab.figures import Figures
from scripts.lab.loads import FINISH_SECONDS
from scripts.lab.results import Row
from scripts.lab.scenarios import Case
from scripts.stack import database, readiness

SORTS = {"coupons": coupons, "orders": orders}
START_SECONDS = 180
"""For k6 to read its accounts and to make its callers."""
IDLE_SECONDS = 1
"""In which an idle shop says that it is ready."""
MOST_FAILED, SLOWEST_P95_MS = 0.01, 500
"""The thresholds of a steady load."""
COUNTED = re.compile(r"^(firstcome_\w+_total)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def run(staff: Staff, case: Case) -> Row:
    """Run the load and check its rows. Raises SetupError when it can't be run."""
    sort = SORTS[case.scenario.sort]
    settings = {"TOKENS": staff.tokens_of(case.load.accounts), **sort.prepare(staff, case)}
    database.wait_until_worked_off(staff.instance)
    database_before, shop_before = database.counters(staff.instance), _counted(staff)
    with _meanwhile(staff, case) as faults:
        metrics, took = load.measure(
            f"lab/{case.scenario.sort}",
            loads.settings(case.load) | settings,
            instance=staff.instance,
            within_seconds=START_SECONDS + case.load.seconds + 2 * FINISH_SECONDS,
        )
    wait_until(lambda: _is_idle(staff), within_seconds=FINISH_SECONDS)
    measured = figures.read(metrics, processor_seconds=took)
    checked = sort.check(staff, case, settings, measured)
    counted = database.since(shop_before, _counted(staff))
    vus = case.load.vus
    return {
        "scenario": case.scenario.name,
        "strategy": case.strategy,
        "variant": case.variant,
        "measured_at": documents.now(),
        "is_quick": case.is_quick,
        "is_control": case.is_control,
        **asdict(measured),
        "steps": figures.steps(metrics, vus, seconds=case.load.seconds // max(len(vus), 1)),
        "database": database.since(database_before, database.counters(staff.instance)),
        "counted": {name: round(number) for name, number in counted.items() if number},
        "goals": goals(measured) if case.scenario.is_steady else {},
        "faults": faults,
        **checked,
    }


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
    """The shop's own counters, over all processes and labels."""
    sums: defaultdict[str, float] = defaultdict(float)
    for name, number in COUNTED.findall(readiness.ask(staff.instance.port, "GET", "/metrics")[1]):
        sums[name] += float(number)
    return sums


@contextmanager
def _meanwhile(staff: Staff, case: Case) -> Iterator[list[Mapping[str, Any]]]:
    """Run `meanwhile` of the scenario beside the block; its exception is raised after it.

    Its result is in the list once the block is left.
    """
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
