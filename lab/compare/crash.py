"""The faults of the scenario `crash`: processes killed and Redis emptied under load, in turn."""

import contextlib
import time
from collections.abc import Mapping
from itertools import cycle
from threading import Event
from typing import Any

from lab.bench.stage import Staff
from lab.chaos import faults
from lab.chaos.faults import Fault
from scripts.stack import SetupError, database, process_identity, readiness

FAULTS: Mapping[str, Fault] = {
    "web killed": Fault("kill", faults.WEB_PROCESS, 0),
    "redis killed": Fault("kill", "redis", 0),
    "redis emptied": Fault("flush", "redis", 0),
}
ISSUER: Mapping[str, Fault] = {"issuer killed": Fault("kill", "issuer", 0)}
"""Only the tickets of `queue` need the issuer."""
PAUSE_SECONDS = 0.8
"""Of plain load before each fault."""
POLL_SECONDS = 0.02
ANSWERS_IN_A_ROW = 10
"""The kernel deals new connections out among web's processes, also to one that is only starting."""
CAMPAIGN = "SELECT id, strategy FROM coupons_campaign ORDER BY id DESC LIMIT 1"
COUPONS = "SELECT COUNT(*) FROM coupons_coupon WHERE campaign_id = %s"


def inject(staff: Staff, variant: str, ended: Event) -> list[dict[str, Any]]:
    """One fault after the other, until the load has ended; the longest wait after each kind, None for
    no end."""
    campaign, strategy = database.rows(staff.instance, CAMPAIGN)[0]
    kinds = {**FAULTS, **ISSUER} if strategy == "queue" else FAULTS
    processes = _web_processes(staff)
    waits: dict[str, list[float | None]] = {}
    for name in cycle(kinds):
        if ended.wait(PAUSE_SECONDS) or not _wait_until_whole(staff, processes, ended):
            break
        waits.setdefault(name, []).append(_strike(staff, kinds[name], campaign, ended))
    if faults.seconds_until_ready(staff.instance) is None:
        raise SetupError(f"the shop was not ready {faults.PATIENCE_SECONDS} s after the last fault")
    known = {name: [seconds for seconds in each if seconds is not None] for name, each in waits.items()}
    return [
        {"fault": name, "times": len(each), "seconds": max(known[name], default=None)}
        for name, each in waits.items()
    ]


def _wait_until_whole(staff: Staff, processes: int, ended: Event) -> bool:
    """Return True once all of web's processes serve, so that one fault's cost isn't another's; False if the
    load ends before that."""
    in_a_row = 0
    while in_a_row < ANSWERS_IN_A_ROW:
        is_served = _web_processes(staff) >= processes and _is_answered(staff)
        in_a_row = in_a_row + 1 if is_served else 0
        if ended.wait(POLL_SECONDS):
            return False
    return True


def _is_answered(staff: Staff) -> bool:
    """Whether the process that gets a new connection serves already, rather than starting."""
    with contextlib.suppress(OSError):
        return readiness.ask(staff.instance.port, "GET", "/healthz")[0] == 200
    return False


def _web_processes(staff: Staff) -> int:
    return len(process_identity.group_of(staff.instance.run, "web"))


def _strike(staff: Staff, fault: Fault, campaign: int, ended: Event) -> float | None:
    """Inject the fault, and return after how many seconds the next coupon was in the database."""
    began_at = time.monotonic()
    faults.inject(fault, staff.instance)
    before = database.rows(staff.instance, COUPONS, campaign)
    while database.rows(staff.instance, COUPONS, campaign) == before:
        if ended.wait(POLL_SECONDS):
            return None
    return round(time.monotonic() - began_at, 2)
