"""Changes of the shop's code in a campaign's processes: planted defects, and a clock measured often.

Every Python process of the stack imports `site/sitecustomize.py`: it installs what `CAMPAIGN_PATCHES` names.
The shop's own code knows nothing of it. Only the standard library is imported here: it is before all else.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

PATCHES = "CAMPAIGN_PATCHES"
PROJECT = Path(__file__).resolve().parents[3]
MEASURED_EACH_SECONDS = 0.5
FAKETIME = "scripts.stack.programs.faketime"


def _frequently_measured_clock(clock: Any) -> None:
    """The database's time is measured twice a second: a month has too many jumps to wait 30 s after each."""
    clock.PERIOD_SECONDS = MEASURED_EACH_SECONDS


def _host_clock(module: Any) -> None:
    """Workers read their host's clock in this module."""
    if "worker" in sys.argv:
        module.clock = SimpleNamespace(now=lambda: datetime.now(UTC))


def _no_lease_of_batches(batch: Any) -> None:
    """A batch advances sagas that another worker has leased."""

    batch.Batch._may_advance = lambda self, saga: saga.state in batch.UNFINISHED


def _no_lease_of_due_sagas(store: Any) -> None:
    """So it finds them."""
    store.due_condition = lambda cells: "next_attempt_at IS NOT NULL"


def _own_charge_keys(gateway: Any) -> None:
    """Workers name each charge after themselves, so that the gateway can't tell that it is the same."""
    for name in ("charge", "find", "cancel"):
        setattr(gateway, name, _with_own_key(getattr(gateway, name)))


def _with_own_key(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *, key, **of: call(key=f"{key}-{os.getpid()}", **of)


def _no_sweep_of_marks(commit_marks: Any) -> None:
    """Marks of transactions are never deleted."""
    commit_marks.sweep = lambda: 0


def _early_sweep(recorded_answers: Any) -> None:
    """Idempotency keys are deleted when half of their time is over."""
    usual = recorded_answers._retention_start
    half = timedelta(seconds=recorded_answers.settings.IDEMPOTENCY_RETENTION_SECONDS / 2)
    recorded_answers._retention_start = lambda: usual() + half


def _admissions_counted_in_memory(admission: Any) -> None:
    """Each process counts its own admissions, and takes all of a minute at once."""
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
    "frequently-measured-clock": {"shop.clock": _frequently_measured_clock},
    "host-clock": {
        "orders.cancellation": _host_clock,
        "shop.idempotency.recorded_answers": _host_clock,
    },
    "no-leases": {
        "orders.saga.batch": _no_lease_of_batches,
        "orders.saga.store": _no_lease_of_due_sagas,
        "payments.gateways.simulator": _own_charge_keys,
    },
    "no-sweep-of-marks": {"shop.db.commit_marks": _no_sweep_of_marks},
    "admissions-in-memory": {"sales.waiting_room.admission": _admissions_counted_in_memory},
    "early-sweep": {"shop.idempotency.recorded_answers": _early_sweep},
}
"""The modules that each changes, and how."""


def settings(*names: str) -> dict[str, str]:
    """The environment of a stack whose processes have these patches."""
    unknown = set(names) - BY_NAME.keys()
    if unknown:
        raise ValueError(f"no such patches: {unknown}")
    own = [str(Path(__file__).with_name("site")), str(PROJECT)]
    return {"PYTHONPATH": os.pathsep.join(own), PATCHES: " ".join(names)}


def install() -> None:
    """Patch the modules once they are imported, and let no sleep fail where libfaketime moves the clock."""
    names = os.environ.get(PATCHES, "").split()
    if names:
        sys.meta_path.insert(0, _Finder([patch for name in names for patch in BY_NAME[name].items()]))
    # What that module runs sleeps as it should already; the children of a web server are run without it.
    if "FAKETIME_TIMESTAMP_FILE" in os.environ and FAKETIME not in sys.orig_argv:
        from scripts.stack.programs import faketime

        time.sleep = faketime.sleep


class _Finder(MetaPathFinder):
    """Finds the modules that are patched, with a loader that patches them."""

    def __init__(self, patches: Sequence[tuple[str, Callable[[Any], None]]]) -> None:
        self._patches = patches

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        wanted = [patch for module, patch in self._patches if module == fullname]
        spec = PathFinder.find_spec(fullname, path, target) if wanted else None
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader, wanted)
        return spec


class _Loader(Loader):
    """Loads a module as usual, and patches it."""

    def __init__(self, usual: Loader, patches: Sequence[Callable[[Any], None]]) -> None:
        self._usual, self._patches = usual, patches

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._usual.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._usual.exec_module(module)
        for patch in self._patches:
            patch(module)
