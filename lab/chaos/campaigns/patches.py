"""Changes of the shop's code in a campaign's processes: planted defects, and a clock measured often.

Every Python process of the stack imports `site/sitecustomize.py`, which installs what `CAMPAIGN_PATCHES`
names. Only the standard library is imported here: it is before all else.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

PATCHES = "CAMPAIGN_PATCHES"


class HostClock:
    """In the place of `foundation.clock`."""

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)


def measure_clock_often(clock: Any) -> None:
    """No defect: a month has too many jumps to wait 30 s after each."""
    clock.PERIOD_SECONDS = 0.5


def read_host_clock(module: Any) -> None:
    """Nothing happens early: workers read the clock of their host, not the database's."""
    if "worker" in sys.argv:
        module.clock = HostClock


def advance_leased(batch: Any) -> None:
    """One worker at a time advances a saga: this one advances what another has leased."""

    def may_advance(self: Any, saga: Any) -> bool:
        return saga.state in batch.UNFINISHED

    batch.Batch._may_advance = may_advance


def find_leased(rows: Any) -> None:
    """The same: it also finds what another has leased."""

    def due_condition(cells: Any) -> str:
        return "next_attempt_at IS NOT NULL"

    rows.due_condition = due_condition


def name_charges_by_process(gateway: Any) -> None:
    """An order is charged once: a charge has another name in each process, so that the gateway can't tell
    that it is the same."""
    for name in ("charge", "find", "cancel"):
        usual = getattr(gateway, name)
        setattr(gateway, name, partial(_with_own_key, usual))


def _with_own_key(usual: Callable[..., Any], *, key: str, **terms: Any) -> Any:
    return usual(key=f"{key}-{os.getpid()}", **terms)


def keep_marks(marks: Any) -> None:
    """Tables stay bounded: marks of transactions are never deleted."""

    def sweep() -> int:
        return 0

    marks.sweep = sweep


def sweep_keys_early(answers: Any) -> None:
    """A key is kept for a day: it is deleted when half of its day is over."""
    usual = answers._retention_start

    def half_a_day_later() -> datetime:
        start: datetime = usual()
        return start + timedelta(hours=12)

    answers._retention_start = half_a_day_later


def count_admissions_in_memory(advancing: Any) -> None:
    """L14, no more are admitted a minute than the rate: each process counts those that it has made itself."""
    usual = advancing._admit
    mine: list[datetime] = []

    def admit(sale: Any, clock_now: datetime, now: datetime) -> Any:
        since = now - advancing.admission.WINDOW
        rate = sale.rate_per_minute
        lately = sale.entries.filter(admitted_at__gte=since)
        # As many more as others have admitted: the usual count includes those.
        sale.rate_per_minute += lately.count() - sum(at >= since for at in mine)
        sale.next_admission_at = None
        admitted = usual(sale, clock_now, now)
        lately.update(rate_per_minute=rate)
        sale.rate_per_minute = rate
        mine.extend([now] * len(admitted))
        return admitted

    advancing._admit = admit


class Patch(NamedTuple):
    """A change of the module of this name, made once it is loaded."""

    module: str
    change: Callable[[Any], None]


BY_NAME: Mapping[str, Sequence[Patch]] = {
    "frequently-measured-clock": [Patch("foundation.clock", measure_clock_often)],
    "host-clock": [
        Patch("orders.cancellation", read_host_clock),
        Patch("foundation.idempotency.recorded_answers", read_host_clock),
    ],
    "no-leases": [
        Patch("orders.saga.batch", advance_leased),
        Patch("orders.saga.rows", find_leased),
        Patch("payments.gateways.simulator", name_charges_by_process),
    ],
    "no-sweep-of-marks": [Patch("foundation.db.commit_marks", keep_marks)],
    "early-sweep": [Patch("foundation.idempotency.recorded_answers", sweep_keys_early)],
    "admissions-in-memory": [Patch("sales.waiting_room.advancing", count_admissions_in_memory)],
}


def settings(*names: str) -> dict[str, str]:
    here = Path(__file__).resolve()
    return {"PYTHONPATH": f"{here.with_name('site')}{os.pathsep}{here.parents[3]}", PATCHES: " ".join(names)}


def install() -> None:
    """Patch the modules once they are loaded, and let no sleep fail where libfaketime moves the clock."""
    chosen: list[Patch] = []
    for name in os.environ.get(PATCHES, "").split():
        chosen += BY_NAME[name]
    usual = SourceFileLoader.exec_module

    def exec_module(loader: SourceFileLoader, module: ModuleType) -> None:
        usual(loader, module)
        for patch in chosen:
            if patch.module == module.__name__:
                patch.change(module)

    SourceFileLoader.exec_module = exec_module  # type: ignore[assignment, method-assign]
    # What that module runs sleeps as it should already; the children of a web server are run without it.
    if "FAKETIME_TIMESTAMP_FILE" in os.environ and "lab.stack.faketime" not in sys.orig_argv:
        from lab.stack import faketime

        time.sleep = faketime.sleep
