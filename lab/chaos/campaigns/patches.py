"""Changes of the shop's code in a campaign's processes: planted defects, and a clock measured often.

Every Python process of the stack imports `site/sitecustomize.py`, which installs what `CAMPAIGN_PATCHES`
names. Only the standard library is imported here: it is before all else.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

PATCHES = "CAMPAIGN_PATCHES"
FAKETIME = "lab.stack.faketime"


def _host_clock(module: Any) -> None:
    if "worker" in sys.argv:
        module.clock = SimpleNamespace(now=lambda: datetime.now(UTC))


def _no_lease_of_batches(batch: Any) -> None:
    batch.Batch._may_advance = lambda self, saga: saga.state in batch.UNFINISHED


def _no_lease_of_due_sagas(store: Any) -> None:
    store.due_condition = lambda cells: "next_attempt_at IS NOT NULL"


def _own_charge_keys(gateway: Any) -> None:
    def with_own_key(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *, key, **of: call(key=f"{key}-{os.getpid()}", **of)

    for name in ("charge", "find", "cancel"):
        setattr(gateway, name, with_own_key(getattr(gateway, name)))


def _early_sweep(recorded_answers: Any) -> None:
    usual = recorded_answers._retention_start
    half = timedelta(seconds=recorded_answers.settings.IDEMPOTENCY_RETENTION_SECONDS / 2)
    recorded_answers._retention_start = lambda: usual() + half


def _admissions_counted_in_memory(admission: Any) -> None:
    mine: list[datetime] = []

    def admit(sale: Any, clock_now: datetime, now: datetime) -> Sequence[Any]:
        lately = [at for at in mine if at >= now - admission.WINDOW]
        number = min(sale.rate_per_minute - len(lately), sale.last_position - sale.passed_position)
        first, last = sale.passed_position + 1, sale.passed_position + number
        chosen = admission.SaleEntry.objects.filter(sale=sale, position__range=(first, last))
        entry_ids = list(chosen.values_list("id", flat=True))
        chosen.update(
            status=admission.Status.ADMITTED,
            admitted_at=now,
            admitted_until=now + timedelta(seconds=sale.admitted_for_seconds),
            rate_per_minute=sale.rate_per_minute,
        )
        sale.passed_position, sale.last_admitted_at = last, now
        sale.save(update_fields=["passed_position", "last_admitted_at"])
        mine.extend([now] * number)
        return entry_ids

    admission._admit = admit


BY_NAME: Mapping[str, Mapping[str, Callable[[Any], None]]] = {
    # The database's time is measured twice a second: a month has too many jumps to wait 30 s after each.
    "frequently-measured-clock": {"shop.clock": lambda clock: setattr(clock, "PERIOD_SECONDS", 0.5)},
    # Workers read their host's clock in these modules.
    "host-clock": dict.fromkeys(("orders.cancellation", "shop.idempotency.recorded_answers"), _host_clock),
    # A worker finds and advances sagas that another one has leased, and names each charge after itself, so
    # that the gateway can't tell that it is the same.
    "no-leases": {
        "orders.saga.batch": _no_lease_of_batches,
        "orders.saga.store": _no_lease_of_due_sagas,
        "payments.gateways.simulator": _own_charge_keys,
    },
    # Marks of transactions are never deleted, and idempotency keys when half of their time is over.
    "no-sweep-of-marks": {"shop.db.commit_marks": lambda marks: setattr(marks, "sweep", lambda: 0)},
    "early-sweep": {"shop.idempotency.recorded_answers": _early_sweep},
    # Each process counts its own admissions, and takes all of a minute at once.
    "admissions-in-memory": {"sales.waiting_room.admission": _admissions_counted_in_memory},
}
"""The modules that each changes, and how."""


def settings(*names: str) -> dict[str, str]:
    """The environment of a stack whose processes have these patches."""
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
    if "FAKETIME_TIMESTAMP_FILE" in os.environ and FAKETIME not in sys.orig_argv:
        from lab.stack import faketime

        time.sleep = faketime.sleep
