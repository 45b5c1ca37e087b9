"""Changes of the shop's code in a campaign's processes: planted defects, and a clock measured often.

Every Python process of the stack imports `site/sitecustomize.py`, which installs what `CAMPAIGN_PATCHES`
names. Only the standard library is imported here: it is before all else.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

PATCHES = "CAMPAIGN_PATCHES"


def _host_clock(module: Any) -> None:
    if "worker" in sys.argv:
        module.clock = SimpleNamespace(now=lambda: datetime.now(UTC))


def _own_charge_keys(gateway: Any) -> None:
    for name in ("charge", "find", "cancel"):
        usual = getattr(gateway, name)
        setattr(gateway, name, lambda *, key, usual=usual, **of: usual(key=f"{key}-{os.getpid()}", **of))


def _early_sweep(answers: Any) -> None:
    usual = answers._retention_start
    answers._retention_start = lambda: usual() + timedelta(hours=12)


def _admissions_counted_in_memory(admission: Any) -> None:
    usual, mine = admission._admit, list[datetime]()

    def admit(sale: Any, clock_now: datetime, now: datetime) -> Any:
        since, rate = now - admission.WINDOW, sale.rate_per_minute
        lately = admission.SaleEntry.objects.filter(sale=sale, admitted_at__gte=since)
        # As many more as others have admitted: the usual count includes those.
        sale.rate_per_minute += lately.count() - sum(at >= since for at in mine)
        sale.next_admission_at = None
        admitted = usual(sale, clock_now, now)
        lately.update(rate_per_minute=rate)
        sale.rate_per_minute = rate
        mine.extend([now] * len(admitted))
        return admitted

    admission._admit = admit


BY_NAME: Mapping[str, Mapping[str, Callable[[Any], None]]] = {
    # The database's time is measured twice a second: a month has too many jumps to wait 30 s after each.
    "frequently-measured-clock": {"foundation.clock": lambda clock: setattr(clock, "PERIOD_SECONDS", 0.5)},
    # Workers read their host's clock in these modules.
    "host-clock": dict.fromkeys(
        ("orders.cancellation", "foundation.idempotency.recorded_answers"), _host_clock
    ),
    # A worker finds and advances sagas that another one has leased, and names each charge after itself, so
    # that the gateway can't tell that it is the same.
    "no-leases": {
        "orders.saga.batch": lambda batch: setattr(
            batch.Batch, "_may_advance", lambda self, saga: saga.state in batch.UNFINISHED
        ),
        "orders.saga.store": lambda store: setattr(
            store, "due_condition", lambda cells: "next_attempt_at IS NOT NULL"
        ),
        "payments.gateways.simulator": _own_charge_keys,
    },
    # Marks of transactions are never deleted, and idempotency keys when half of their day is over.
    "no-sweep-of-marks": {"foundation.db.commit_marks": lambda marks: setattr(marks, "sweep", lambda: 0)},
    "early-sweep": {"foundation.idempotency.recorded_answers": _early_sweep},
    # Each process counts the admissions of a sale that it has made itself.
    "admissions-in-memory": {"sales.waiting_room.admission": _admissions_counted_in_memory},
}


def settings(*names: str) -> dict[str, str]:
    here = Path(__file__).resolve()
    return {"PYTHONPATH": f"{here.with_name('site')}{os.pathsep}{here.parents[3]}", PATCHES: " ".join(names)}


def install() -> None:
    """Patch the modules once they are loaded, and let no sleep fail where libfaketime moves the clock."""
    chosen = [pair for name in os.environ.get(PATCHES, "").split() for pair in BY_NAME[name].items()]
    usual = SourceFileLoader.exec_module

    def exec_module(loader: SourceFileLoader, module: ModuleType) -> None:
        usual(loader, module)
        for name, patch in chosen:
            if name == module.__name__:
                patch(module)

    SourceFileLoader.exec_module = exec_module  # type: ignore[assignment, method-assign]
    # What that module runs sleeps as it should already; the children of a web server are run without it.
    if "FAKETIME_TIMESTAMP_FILE" in os.environ and "lab.stack.faketime" not in sys.orig_argv:
        from lab.stack import faketime

        time.sleep = faketime.sleep
